"""A server to be hurt, with callers who check every answer they get."""

import base64
import http.client
import io
import json
import os
import signal
import subprocess
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from tests.conftest import Server, serving

CALLERS = 4
TOLERANCE = 1e-4  # between an embedding and the same caller's first one


@pytest.fixture(scope="module")
def victim(repository: Path) -> Iterator[Server]:
    """A server of its own for each file of faults."""
    with serving(repository) as running:
        yield running


def face(number: int) -> bytes:
    """A request that embeds one face of its own; no two numbers give the same."""
    turned = Image.fromarray(astronaut()).crop((150, 50, 300, 210)).rotate(3 * number)
    file = io.BytesIO()
    turned.save(file, "PNG")
    return json.dumps({"images": [base64.b64encode(file.getvalue()).decode()]}).encode()


def post(url: str, body: bytes, seconds: float = 12) -> tuple[int, bytes]:
    """The status and the body of an answer; 0 where the connection failed."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=seconds)
    try:
        connection.request("POST", address.path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


@dataclass
class Callers:
    """Callers who each send their own face for ever; wrong answers are counted apart, and nothing else matters more."""

    url: str
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    last_failure: float = 0.0  # time.monotonic() of the last answer that was not 200
    slowest: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Callers":
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        body, expected = face(number), None
        while not self._stop.is_set():
            begun = time.monotonic()
            status, answer = post(f"{self.url}/service/FaceEmbedModel", body)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.statuses[status] += 1
            if status != 200:
                self.last_failure = time.monotonic()
                time.sleep(0.05)
                continue
            row = json.loads(answer)[0]
            expected = expected or row
            self.wrong += max(abs(a - b) for a, b in zip(row, expected, strict=True)) > TOLERANCE


def is_ready(server: Server) -> bool:
    address = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def seconds_until(condition: bool, server: Server, limit: float) -> float:
    """Seconds until readiness is `condition`; fails after `limit`."""
    begun = time.monotonic()
    while is_ready(server) is not condition:
        if time.monotonic() - begun > limit:
            pytest.fail(f"readiness was not {condition} after {limit} s")
        time.sleep(0.05)
    return time.monotonic() - begun


def processes(server: Server) -> dict[str, int]:
    """The server's processes by name: triton, gateway, and each model's Python process by the model's name."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    children: dict[int, list[tuple[int, str]]] = {}
    for pid, parent, command in rows:
        children.setdefault(int(parent), []).append((int(pid), command))
    found: dict[str, int] = {}
    for pid, command in children.get(server.process.pid, []):
        if "client gateway" in command:
            found["gateway"] = pid
        if "tritonserver" in command:
            found["triton"] = pid
            for stub, arguments in children.get(pid, []):
                if "/1/model.py" in arguments:  # a dead one is listed without
                    found[Path(arguments.split()[1]).parents[1].name] = stub
    return found


def hurt(server: Server, name: str, how: signal.Signals) -> None:
    os.kill(processes(server)[name], how)
