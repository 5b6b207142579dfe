import errno
import signal
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from client import supervisor
from client.embedded import EmbeddedTriton, Ports
from client.installation import LaunchError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("127.0.0.2", "http://127.0.0.2:8080"),
        ("::", "http://[::1]:8080"),
        ("fd00::5", "http://[fd00::5]:8080"),
    ],
)
def test_a_gateway_is_asked_where_it_listens(host: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_HOST", host)
    assert supervisor.Gateway(8080, "127.0.0.1:8001").url == url


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert supervisor.Gateway(server.server_port, "127.0.0.1:8001").ready()
        server.shutdown()


@pytest.fixture
def no_http() -> Iterator[int]:
    """A port where something listens that does not speak HTTP."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(b"not HTTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]


def test_a_listener_without_http_is_no_gateway(no_http: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACE_HOST", raising=False)
    assert not supervisor.Gateway(no_http, "127.0.0.1:8001").ready()


def test_a_listener_without_http_is_no_triton(no_http: int, tmp_path: Path) -> None:
    assert not EmbeddedTriton(tmp_path, Ports(http=no_http)).ready()


class Gone(supervisor.Gateway):
    """A gateway that ends at once, whenever it is started."""

    def start(self) -> None:
        pass


class Well(EmbeddedTriton):
    """A Triton that runs and must not be touched."""

    def __init__(self) -> None:
        pass

    def alive(self) -> bool:
        return True

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        raise AssertionError("Triton was well")


def test_a_gateway_that_cannot_start_says_nothing_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 120:
            raise Enough

    monkeypatch.setattr(supervisor.time, "sleep", sleep)
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    monkeypatch.setattr(supervisor.Stubs, "look", lambda stubs: "")
    monkeypatch.setattr(supervisor.Stubs, "__init__", lambda stubs, triton: None)
    with pytest.raises(Enough):
        supervisor.supervise(Well(), Gone(8080, "127.0.0.1:8001"))


class Reluctant(EmbeddedTriton):
    """A Triton that starts only when everything else has been tried."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def start(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    def wait_ready(self, seconds: float) -> None:
        pass

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        pass


def test_triton_is_tried_again_whatever_keeps_it_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(supervisor.time, "sleep", pauses.append)
    triton = Reluctant(LaunchError("no model"), OSError(errno.ENOMEM, "no memory"), OSError(errno.ENOSPC, "no room"))
    supervisor.restart(triton)
    assert triton.errors == []
    assert pauses == [1.0, 2.0, 4.0]
