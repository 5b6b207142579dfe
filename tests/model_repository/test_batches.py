"""Requests of different callers run as one batch, counted by a real Triton."""

import asyncio
import re
import time
import urllib.request

import numpy
from PIL import Image
from skimage.data import astronaut

from client.face_client import AsyncFaceClient
from tests.conftest import Server

CALLERS = 24


def counted(server: Server, metric: str, model: str) -> int:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as answer:
        found = re.search(rf'^{metric}{{.*model="{model}".*}} (\d+)', answer.read().decode(), re.MULTILINE)
    assert found
    return int(found[1])


def counted_at_rest(server: Server) -> tuple[int, int]:
    """How many faces the FaceNet has seen and in how many runs, once that no longer changes."""
    end = time.monotonic() + 10
    before = None
    while True:
        faces, runs = (counted(server, f"nv_inference_{what}", "facenet") for what in ("count", "exec_count"))
        if before == (faces, runs):
            return faces, runs
        assert time.monotonic() < end, "Triton has no rest"
        before = faces, runs
        time.sleep(0.5)


def counted_at_least(number: int, server: Server, metric: str, model: str) -> int:
    """Triton counts a batch after it has answered: wait for it."""
    end = time.monotonic() + 10
    while (found := counted(server, metric, model)) < number and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_callers_share_batches(server: Server) -> None:
    face = Image.fromarray(astronaut()).crop((150, 50, 300, 210))
    crops = [face.rotate(number) for number in range(CALLERS)]

    async def ask() -> None:
        async with AsyncFaceClient(server.grpc) as client:
            await asyncio.gather(*(client.embed_crops([numpy.asarray(crop)]) for crop in crops))

    faces, runs = counted_at_rest(server)
    asyncio.run(ask())
    faces = counted_at_least(faces + CALLERS, server, "nv_inference_count", "facenet") - faces
    runs = counted(server, "nv_inference_exec_count", "facenet") - runs
    assert faces >= CALLERS  # the gateway's own questions among them
    assert runs < faces / 2
