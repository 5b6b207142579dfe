import errno
import math
import signal
import socket
import time
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
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
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


class Enough(Exception):
    """Ends a watch that has no end."""


class Clock:
    """Time that passes only while the supervisor sleeps."""

    def __init__(self, end: float) -> None:
        self.now, self.end = 0.0, end

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.end:
            raise Enough


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Two minutes in which no model does anything wrong."""
    clock = Clock(120.0)
    monkeypatch.setattr(supervisor.time, "sleep", clock.sleep)
    monkeypatch.setattr(supervisor.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(supervisor.Stubs, "look", lambda stubs: None)
    monkeypatch.setattr(supervisor.Stubs, "__init__", lambda stubs, triton: None)
    return clock


def test_a_gateway_that_cannot_start_says_nothing_of_triton(clock: Clock) -> None:
    with pytest.raises(Enough):
        supervisor.supervise(Well(), Gone(8080, "127.0.0.1:8001"))


class Reluctant(EmbeddedTriton):
    """A Triton that has ended, and starts and loads only when everything else has been tried."""

    def __init__(self, clock: Clock, *errors: Exception, loads_in: float = 0.0, lives_for: float = math.inf) -> None:
        self.errors, self.loads_in, self.lives_for = list(errors), loads_in, lives_for
        self.clock = clock
        self.starts: list[float] = []
        self.running = False

    def start(self) -> None:
        self.starts.append(self.clock.now)
        if self.errors:
            raise self.errors.pop(0)
        self.running = True

    def alive(self) -> bool:
        return self.running and self.clock.now < self.starts[-1] + self.lives_for

    def ready(self) -> bool:
        return self.alive() and self.clock.now >= self.starts[-1] + self.loads_in

    def loaded(self) -> bool:
        if not self.alive():
            raise LaunchError("it has ended")
        return self.ready()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.running = False


class Answering(supervisor.Gateway):
    """A gateway that runs once it is started, and calls itself ready when Triton is."""

    def __init__(self, clock: Clock, triton: Reluctant) -> None:
        self.clock, self.triton = clock, triton
        self.starts: list[float] = []
        self.ends = 0.0  # when it dies

    def start(self) -> None:
        self.starts.append(self.clock.now)

    def alive(self) -> bool:
        return bool(self.starts) and not self.starts[-1] < self.ends <= self.clock.now

    def live(self) -> bool:
        return self.alive()

    def ready(self) -> bool:
        return self.alive() and self.triton.ready()

    def kill(self) -> None:
        pass


def test_triton_is_tried_again_whatever_keeps_it_from_starting(clock: Clock) -> None:
    errors = LaunchError("no model"), OSError(errno.ENOMEM, "no memory"), OSError(errno.ENOSPC, "no room")
    triton = Reluctant(clock, *errors)
    gateway = Answering(clock, triton)
    gateway.start()
    with pytest.raises(Enough):
        supervisor.supervise(triton, gateway)
    assert triton.starts == [0.5, 2.5, 6.5, 14.5]  # after ever longer pauses, and then no more


def test_a_triton_that_dies_again_and_again_once_it_has_loaded_is_started_each_time_at_once(clock: Clock) -> None:
    triton = Reluctant(clock, loads_in=3.0, lives_for=10.0)
    gateway = Answering(clock, triton)
    gateway.start()
    with pytest.raises(Enough):
        supervisor.supervise(triton, gateway)
    assert triton.starts == [0.5 + 10.0 * life for life in range(12)]


class Waiting(Answering):
    """A gateway whose Triton runs but leaves questions to its models unanswered."""

    def __init__(self, clock: Clock, triton: Reluctant, *models: set[str]) -> None:
        super().__init__(clock, triton)
        self.models = [frozenset(of_one) for of_one in models]

    def ready(self) -> bool:
        return False

    def waits_for(self) -> list[frozenset[str]]:
        return self.models


@pytest.mark.parametrize(
    ("models", "left_alone"),
    [
        (({"arcface_preprocess", "arcface"},), True),
        (({"facenet"},), False),
        (({"arcface"}, {"facenet"}), False),
        ((), False),
    ],
    ids=["of a model at work", "of an idle one", "of an idle one beside one at work", "that answers wrongly"],
)
def test_a_triton_is_not_ended_for_the_silence(
    models: tuple[set[str], ...], left_alone: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor.Stubs, "at_work", lambda stubs, asked: "arcface" in asked)
    triton = Reluctant(clock)
    triton.start()
    gateway = Waiting(clock, triton, *models)
    gateway.start()
    with pytest.raises(Enough):
        supervisor.supervise(triton, gateway)
    assert (len(triton.starts) == 1) is left_alone


def test_a_gateway_that_does_not_listen_yet_says_nothing_of_triton(clock: Clock) -> None:
    triton = Reluctant(clock)
    triton.start()
    gateway = Waiting(clock, triton)
    gateway.live = lambda: False  # type: ignore[method-assign]
    gateway.start()
    with pytest.raises(Enough):
        supervisor.supervise(triton, gateway)
    assert len(triton.starts) == 1


@pytest.mark.parametrize(("ready_after", "starts"), [(60.0, True), (200.0, False)])
def test_a_start_waits_for_models_that_others_keep_busy(
    ready_after: float, starts: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.end = 300.0
    triton = Reluctant(clock)
    gateway = Waiting(clock, triton, {"face_crops"})
    monkeypatch.setattr(gateway, "live", lambda: False)
    monkeypatch.setattr(gateway, "ready", lambda: clock.now >= ready_after)
    if starts:
        supervisor.start(triton, gateway)
        assert clock.now == pytest.approx(ready_after, abs=0.1)
    else:
        with pytest.raises(LaunchError, match="the gateway did not start"):
            supervisor.start(triton, gateway)


class Unready(BaseHTTPRequestHandler):
    text = b""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("text", "models"),
    [
        (b'{"ready": false, "waits_for": {"arcface_embed": ["arcface"]}}', [{"arcface"}]),
        (b'{"ready": false, "waits_for": {}}', []),
        (b"<html>", []),
        (b"[]", []),
        (b'{"waits_for": 3}', []),
        (b'{"waits_for": {"a": 3}}', []),
    ],
)
def test_what_a_gateway_waits_for_is_read(text: bytes, models: list[set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACE_HOST", raising=False)
    monkeypatch.setattr(Unready, "text", text)
    with HTTPServer(("127.0.0.1", 0), Unready) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert supervisor.Gateway(server.server_port, "127.0.0.1:8001").waits_for() == models
        server.shutdown()


def test_a_triton_that_does_not_load_is_started_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 50.0)
    triton = Reluctant(clock, loads_in=1000.0)
    gateway = Answering(clock, triton)
    gateway.start()
    with pytest.raises(Enough):
        supervisor.supervise(triton, gateway)
    assert len(triton.starts) == 3


def test_a_gateway_that_dies_while_triton_loads_is_started_again_at_once(clock: Clock) -> None:
    triton = Reluctant(clock, loads_in=100.0)
    gateway = Answering(clock, triton)
    gateway.start()
    gateway.ends = 40.0
    with pytest.raises(Enough):
        supervisor.supervise(triton, gateway)
    assert gateway.starts == [0.0, 40.0]
    assert triton.starts == [0.5]


class Loaded(EmbeddedTriton):
    """A Triton that has its models as soon as it is asked for them."""

    def __init__(self) -> None:
        pass

    def start(self) -> None:
        pass

    def wait_ready(self, seconds: float) -> None:
        pass


def test_another_server_that_took_the_port_while_the_models_loaded_does_not_pass_for_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FACE_HOST", raising=False)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        gateway = supervisor.Gateway(server.server_port, "127.0.0.1:8001")
        try:
            with pytest.raises(
                LaunchError, match=f"^another server answers at {gateway.url}; stop it or choose another"
            ):
                supervisor.start(Loaded(), gateway)
            assert gateway.process is None
        finally:
            gateway.stop()
            server.shutdown()


class Shadowed(Gone):
    """A gateway that could not listen, because another has begun to in this moment."""

    def live(self) -> bool:
        return False

    def ready(self) -> bool:
        return True


def test_readiness_is_not_believed_while_our_own_gateway_is_gone() -> None:
    with pytest.raises(LaunchError, match="the gateway did not start"):
        supervisor.start(Loaded(), Shadowed(8080, "127.0.0.1:8001"))


def test_a_package_of_the_current_folder_is_not_taken_for_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Python 3.10, or where PYTHONSAFEPATH is not set."""
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONSAFEPATH", "PYTHONPATH", "FACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    gateway = supervisor.Gateway(port, "127.0.0.1:9")
    gateway.start()
    try:
        until = time.monotonic() + 20
        while not gateway.live():
            assert gateway.alive() and time.monotonic() < until
            time.sleep(0.05)
    finally:
        gateway.stop()
