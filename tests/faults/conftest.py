"""A server to be hurt, with callers who check every answer they get, and a table of what was seen."""

import asyncio
import http.client
import os
import signal
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Server, serving
from tests.load.callers import Known, Tally, identity, learn

CALLERS, PICTURES = 64, 200
READINESS_SECONDS = 5.0  # until a fault shows
COLUMNS = ("fault", "promised", "noticed", "well again", "slowest answer", "right", "wrong", "refused or lost")


@pytest.fixture(scope="module")
def victim(repository: Path) -> Iterator[Server]:
    """A server of its own for each file of faults."""
    with serving(repository) as running:
        yield running


@pytest.fixture(scope="module")
def known(victim: Server) -> Known:
    """Pictures and their right answers."""
    return asyncio.run(learn(port(victim), PICTURES))


def port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


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
    """Callers without a pause, from entering the block to leaving it; wrong answers are counted apart."""

    port: int
    known: Known
    callers: int = CALLERS
    tally: Tally = field(default_factory=Tally)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Tally:
        work = identity(self.port, self.callers, self.known, self.tally, lambda: not self._stop.is_set())
        self._thread = threading.Thread(target=asyncio.run, args=(work,))
        self._thread.start()
        return self.tally

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def is_ready(server: Server) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port(server), timeout=2)
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The rows of docs/reliability.md: a test gives its own by record_property("row", ...)."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    rows = [value for report in reports for name, value in report.user_properties if name == "row"]
    if rows:
        terminalreporter.section("seconds from each fault")
        for row in (COLUMNS, ["---"] * len(COLUMNS), *rows):
            terminalreporter.write_line(f"| {' | '.join(str(cell) for cell in row)} |")
