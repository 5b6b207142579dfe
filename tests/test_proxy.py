"""A proxy of the environment is not asked for this machine: not by the tests, nor by what measures."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from PIL import Image

from scripts.benchmarks.serving import statistics
from scripts.planning.measurement import Spent, ready
from tests.conftest import PROJECT, Server

METRICS = 'nv_inference_count{model="facenet",version="1"} 3'


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write((METRICS if self.path == "/metrics" else json.dumps({"model_stats": []})).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server on this machine, while the environment names a proxy that is not there."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is meant for this machine, too."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_servers_of_tests_are_asked_themselves(port: int) -> None:
    for host in ("127.0.0.1", "localhost"):
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
            assert answer.read().decode() == METRICS


def test_the_gateway_that_capacity_measures_is_asked_itself(port: int, everywhere: None) -> None:
    assert ready(f"http://127.0.0.1:{port}")


def test_the_triton_that_capacity_measures_is_asked_itself(port: int, everywhere: None) -> None:
    us = os.getpid()
    replicas = SimpleNamespace(metrics=[f"http://127.0.0.1:{port}/metrics"], triton=us, gateway=us)
    assert Spent.by(replicas).items == {"facenet": 3.0}


def test_the_triton_that_a_benchmark_measures_is_asked_itself(port: int, everywhere: None) -> None:
    assert statistics(port) == {}


@pytest.mark.usefixtures("everywhere")
def test_perf_analyzer_asks_triton_itself(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    picture = tmp_path / "face.png"
    Image.linear_gradient("L").save(picture)
    load = ["--concurrency-range", "1", "--measurement-mode", "count_windows", "--measurement-request-count", "3"]
    command = [sys.executable, "-m", "client", "perf", f"--picture={picture}", f"--url={server.grpc}", "face_detect"]
    done = subprocess.run([*command, *load], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
