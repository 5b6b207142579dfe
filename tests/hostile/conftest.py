"""A live gateway with short deadlines before a fake Triton, and the check that follows every hostile case."""

import numpy as np
import pytest

from client import wire
from tests.client.live import LiveGateway, body_of
from tests.fakes.triton import FakeTriton, embedding_of

A, B = b"\x89PNG\r\n\x1a\n picture a", b"\xff\xd8\xff picture b"
GOOD = body_of(A, B, cnt=2)
GOOD_ANSWER = wire.distance_text(np.linalg.norm(embedding_of(A) - embedding_of(B)).astype(np.float32))
FLAT = 64 * 1024 * 1024  # bytes that memory may go up and down by

HEADER_SECONDS = 1.5
DEADLINE_SECONDS = 2.0


@pytest.fixture(scope="session")
def world():
    settings = {
        "FACE_HEADER_SECONDS": HEADER_SECONDS,
        "FACE_DEADLINE_SECONDS": DEADLINE_SECONDS,
        "FACE_SEND_SECONDS": 2,
    }
    with FakeTriton() as triton, LiveGateway(triton.url, **settings) as gateway:
        for _ in range(3):  # so that memory has seen its largest requests before it is measured
            gateway.post("/service/FaceEmbedModel", body_of(*[bytes(380_000)] * 32))
        yield triton, gateway, gateway.rss()


@pytest.fixture
def fake(world):
    world[0].reset()
    return world[0]


@pytest.fixture
def gateway(world, fake):
    """The gateway; when the test is over it is healthy, exact and no larger than before."""
    _, gateway, memory = world
    yield gateway
    fake.reset()
    assert gateway.request("GET", "/health/live").status == 200
    assert gateway.request("GET", "/health/ready").status == 200
    reply = gateway.post("/service", GOOD)
    assert (reply.status, reply.text) == (200, GOOD_ANSWER)
    assert gateway.rss() < memory + FLAT
