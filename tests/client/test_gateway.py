"""The process: how it starts, what it refuses to start with, how it ends, and what its limits cut off."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from client.gateway import _listener
from tests.client.live import PROJECT, LiveGateway, body_of, free_port, statuses
from tests.fakes.triton import held, sleeps

A, B = b"picture a", b"picture b"
KEY = "a-key-of-many-characters"


def request_of(body, path=b"/service"):
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def wait_until(condition, what):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, f"{what}: not within 10 s"
        time.sleep(0.01)


def refused_start(**environ):
    """The exit status and the text of a gateway that must not start."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FACE_")}
    inherited["FACE_PORT"] = str(free_port())
    command = [sys.executable, "-m", "client", "gateway"]
    done = subprocess.run(command, cwd=PROJECT, env=inherited | environ, capture_output=True, text=True, timeout=30)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, text = refused_start(FACE_PORT=str(port))
    assert status == 1
    assert text == f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"FACE_DEADLINE": "1"}, "FACE_DEADLINE is not a setting"),
        ({"FACE_PORT": "x"}, "FACE_PORT"),
        ({"UAI_SERVICE_CONFIG": "/none.conf"}, "/none.conf"),
        ({"FACE_HOST": "0.0.0.0"}, "FACE_API_KEYS_FILE"),
        ({"FACE_API_KEYS_FILE": "/none"}, "FACE_API_KEYS_FILE=/none"),
    ],
    ids=["unknown", "bad", "no-config", "no-keys", "no-key-file"],
)
def test_a_bad_setting_is_one_line_that_names_it(environ, named):
    status, text = refused_start(**environ)
    assert status == 1
    assert named in text
    assert len(text.splitlines()) == 1


def test_the_uai_configuration_decides_what_service_is(fake, tmp_path):
    path = tmp_path / "facenet-embed.conf"
    path.write_text('{"http_server": {"exec": {"main_class": "FaceEmbedModel", "main_file": "facenet_inference"}}}')
    with LiveGateway(fake.url, UAI_SERVICE_CONFIG=path) as gateway:
        assert len(json.loads(gateway.post("/service", body_of(A, B)).text)) == 2
        assert gateway.post("/service", b"\xff\xd8\xff a picture").status == 400


def test_keys_are_asked_for(fake, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=keys, FACE_HOST="127.0.0.1") as gateway:
        assert gateway.post("/service", body_of(A, B)).status == 401
        assert gateway.request("GET", "/metrics").status == 401
        assert gateway.post("/service", body_of(A, B), {"Authorization": f"Bearer {KEY}"}).status == 200
        assert gateway.request("GET", "/health/ready").status == 200
    assert KEY not in gateway.log


def test_it_starts_without_triton_and_says_so():
    with LiveGateway("127.0.0.1:9", ready=False) as gateway:
        assert gateway.request("GET", "/health/ready").status == 503
        reply = gateway.post("/service", body_of(A, B))
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_a_signal_lets_what_is_in_flight_finish(fake, number):
    fake.script("facenet_compare", sleeps(1.0))
    with LiveGateway(fake.url, FACE_DRAIN_SECONDS=60) as gateway:
        with gateway.connect() as idle, gateway.connect() as busy:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert statuses(idle.recv(65536)) == [200]
            busy.sendall(request_of(body_of(A, B)))
            wait_until(lambda: fake.calls, "the call comes to Triton")
            gateway.process.send_signal(number)
            assert statuses(busy.recv(65536)) == [200]
            assert gateway.process.wait(15) == 0  # long before it would give up the idle one
            with pytest.raises(ConnectionRefusedError):
                gateway.connect()


def test_draining_ends_even_with_a_stuck_call_which_is_told_so(fake, capfd):
    fake.script("facenet_compare", sleeps(30))
    with LiveGateway(fake.url, FACE_DRAIN_SECONDS=0.5) as gateway, gateway.connect() as busy:
        busy.sendall(request_of(body_of(A, B)))
        wait_until(lambda: fake.calls, "the call comes to Triton")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(5) == 0
        answer = busy.recv(65536)
    assert statuses(answer) == [503]
    assert answer.endswith(b"the server is stopping; try again")
    assert "Traceback" not in gateway.log + "".join(capfd.readouterr())


def test_a_blocked_log_costs_lines_and_no_request(fake):
    """Standard error is a pipe that nobody reads: it fills up, and requests go on."""
    reader, writer = os.pipe()
    with LiveGateway(fake.url) as template:
        environ = template._environ
    command = [sys.executable, "-m", "client", "gateway"]
    process = subprocess.Popen(command, cwd=PROJECT, env=environ, stderr=writer)
    os.close(writer)
    template.process = process
    try:
        until = time.monotonic() + 20
        while True:
            try:
                template.request("GET", "/health/live")
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        with template.connect() as connection:  # over 64 KiB of lines for the pipe and 1000 for the queue
            for _ in range(25):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                received = b""
                while len(statuses(received)) < 100:
                    chunk = connection.recv(1 << 20)
                    assert chunk, "the gateway closed the connection"
                    received += chunk
        metrics = template.request("GET", "/metrics").text
        lost = next(line for line in metrics.splitlines() if line.startswith("face_log_lines_lost "))
        assert float(lost.split()[1]) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@pytest.mark.parametrize(
    ("bound", "spelling"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "0:0:0:0:0:0:0:1"), ("::ffff:127.0.0.1", "::ffff:7f00:1")],
)
def test_the_listener_is_found_however_its_address_is_spelt(bound, spelling):
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((bound, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        listener.listen()
        port = listener.getsockname()[1]
        with _listener(spelling, port) as found:
            assert found.getsockname() == listener.getsockname()
        assert _listener("127.0.0.2", port) is None


def test_more_than_may_be_in_flight_is_refused_fast(fake):
    """The refusals do not wait for the others, which end only after them."""
    release = threading.Event()
    fake.script("facenet_compare", held(release))
    with LiveGateway(fake.url, FACE_MAX_IN_FLIGHT=2, FACE_DEADLINE_SECONDS=60) as gateway:
        replies = []
        threads = [
            threading.Thread(target=lambda: replies.append(gateway.post("/service", body_of(A, B)).status))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(replies) == 4, "four answers")
            assert replies == [503] * 4
        finally:
            release.set()
            for thread in threads:
                thread.join()
        assert replies == [503] * 4 + [200] * 2
        assert gateway.post("/service", body_of(A, B)).status == 200


def test_as_many_connections_as_may_be_and_one_more(fake):
    """One more waits in the kernel's queue until another ends."""
    with LiveGateway(fake.url, FACE_MAX_CONNECTIONS=16, FACE_HEADER_SECONDS=60) as gateway, ExitStack() as stack:
        silent = [stack.enter_context(gateway.connect()) for _ in range(15)]
        assert gateway.request("GET", "/health/live").status == 200
        silent.append(stack.enter_context(gateway.connect()))
        one_more = stack.enter_context(gateway.connect())
        one_more.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        one_more.settimeout(0.5)
        with pytest.raises(TimeoutError):
            one_more.recv(65536)
        silent[0].close()
        one_more.settimeout(10)
        assert statuses(one_more.recv(65536)) == [200]


def test_slow_bodies_hold_no_slot(fake):
    with LiveGateway(fake.url, FACE_MAX_IN_FLIGHT=1) as gateway:
        slow = [gateway.connect() for _ in range(10)]
        for connection in slow:
            connection.sendall(request_of(body_of(A, B))[:-10])
        assert gateway.post("/service", body_of(A, B)).status == 200
        for connection in slow:
            connection.close()
