"""Callers who go away before their answer."""

import concurrent.futures
import contextlib
import http.client
import random
import time
from pathlib import Path

import pytest

from tests.client.live import LiveGateway
from tests.conftest import serving
from tests.fakes.triton import BRITTLE, FakeTriton, sleeps
from tests.hostile import memory
from tests.hostile.conftest import FLAT, GOOD
from tests.hostile.pictures import encode, noise
from tests.load.callers import body_of, face

NAMES = ("FaceDetectionModel", "InsightFaceModel")
HEAD = b"POST /service HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GOOD)


def leave(gateway, count):
    for _ in range(count):
        with gateway.connect() as connection:
            connection.sendall(HEAD + GOOD)


def leave_once_asked(gateway, fake, count):
    """As `leave`, of callers whose calls have all come to Triton: who leaves sooner may never have been asked for."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(gateway.connect()).sendall(HEAD + GOOD)
        end = time.monotonic() + 10
        while len(fake.calls) < count:
            assert time.monotonic() < end, f"{len(fake.calls)} of {count} calls came to Triton"
            time.sleep(0.01)


def test_calls_of_callers_who_left_are_cancelled_in_triton_within_a_second(gateway, fake):
    fake.script("facenet_compare", sleeps(5))
    leave_once_asked(gateway, fake, 20)
    time.sleep(1.0)
    assert all(call.cancelled for call in fake.calls)


@pytest.mark.parametrize("count", [500, pytest.param(30_000, marks=pytest.mark.slow)])
def test_callers_who_leave_leave_nothing_behind(gateway, fake, count):
    """Memory rises while many are let go at once, and stays where it is however many follow."""
    fake.script("facenet_compare", sleeps(0.05))
    before = gateway.rss()
    for _ in range(count // 500):
        leave(gateway, 500)
        time.sleep(0.3)
    end = time.monotonic() + 10
    while gateway.rss() > before + FLAT:
        assert time.monotonic() < end, "memory is not given back"
        time.sleep(0.2)


def test_calls_that_must_not_be_cancelled_keep_their_slots_until_they_end():
    """Before Triton 2.57, see client/connection.py."""
    with FakeTriton() as fake:
        fake.version = BRITTLE
        fake.script("facenet_compare", sleeps(2))
        with LiveGateway(fake.url, FACE_MAX_IN_FLIGHT=4) as gateway:
            leave_once_asked(gateway, fake, 4)
            time.sleep(0.5)
            assert gateway.post("/service", GOOD).status == 503
            time.sleep(2.5)
            fake.reset()
            assert gateway.post("/service", GOOD).status == 200
            assert not any(call.cancelled for call in fake.calls)


@pytest.mark.slow
def test_callers_who_leave_at_any_moment_do_not_end_triton(repository: Path):
    """While the gateway still cancelled its calls, Triton 2.51 crashed or went deaf each minute of this."""
    kinds = [("FaceEmbedModel", body_of(face(1))), ("FaceEmbedModel", body_of(b"no picture"))]
    kinds += [(name, encode(noise(side, side, 4), "JPEG")) for name in NAMES for side in (160, 1500)]

    def ask(port: int, seed: int, end: float) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            name, body = chance.choice(kinds)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", f"/service/{name}", body)
            if chance.random() < 0.4:
                time.sleep(0.3 * chance.random() ** 3)
            else:
                connection.getresponse().read()
            connection.close()

    with serving(repository, FACE_DEADLINE_SECONDS="1") as server, concurrent.futures.ThreadPoolExecutor(12) as pool:
        port, before = int(server.url.rpartition(":")[2]), memory.family(server.process.pid)
        asked = [pool.submit(ask, port, seed, time.monotonic() + 180) for seed in range(12)]
        assert all(each.result() is None for each in asked)
        time.sleep(10)  # a deaf Triton is started again within this time
        assert memory.family(server.process.pid) == before
