"""Callers who come all at once, and callers who take their time, as the others see it. Fake and callers have processes
of their own, so that what is measured is the gateway."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.client.live import PROJECT, LiveGateway
from tests.load.callers import Tally, body_of, face, post

PATH = "/service/FaceEmbedModel"
TRITON = """
import asyncio, sys, time
from pathlib import Path
from tests.fakes.triton import DEFAULTS, FakeTriton
gate = Path(sys.argv[1])
async def answers(call):
    while not gate.exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.03)
    return DEFAULTS[call.model](call)
with FakeTriton() as triton:
    triton.script("facenet_embed", answers)
    print(triton.url, flush=True)
    time.sleep(600)
"""
SLOW = """
import contextlib, socket, sys, time
port, callers = int(sys.argv[1]), int(sys.argv[2])
HEAD = b"POST /service HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 50000\\r\\n\\r\\n"
def connect(number):
    caller = socket.create_connection(("127.0.0.1", port))
    caller.setblocking(False)
    caller.send(HEAD if number % 2 else b"P")
    return caller
slow = []
while True:
    begun = time.monotonic()
    if len(slow) < callers:  # a tenth each second: nobody's time runs out together with all others'
        slow += [connect(number) for number in range(callers // 10)]
    if len(slow) == callers:
        print("all are here", flush=True)
    for number in range(len(slow)):
        with contextlib.suppress(BlockingIOError):
            try:
                slow[number].send(b"O")
            except OSError:
                slow[number].close()
                slow[number] = connect(number)
        if number % 50 == 49:
            time.sleep(0.04)
    time.sleep(max(begun + 1 - time.monotonic(), 0))
"""


@contextlib.contextmanager
def other(program: str, *arguments: object) -> Iterator[str]:
    """A program in a process of its own, and the line it says when it is ready."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def burst(port: int, count: int, body: bytes, refused: int, gate: Path) -> Tally:
    """So many callers at once. Triton answers when so many of them have been refused, which opens its gate."""
    tally = Tally()

    async def one() -> None:
        begun = time.monotonic()
        status, _ = await post(port, PATH, body)
        tally.add(status, time.monotonic() - begun)
        if len(tally.seconds.get(503, ())) == refused:
            gate.touch()

    await asyncio.gather(*(one() for _ in range(count)))
    return tally


@pytest.mark.parametrize("size", [50_000, 1_000_000])
def test_of_a_hundred_in_one_instant_those_over_the_limit_know_it_before_any_other_has_an_answer(
    size: int, tmp_path: Path
) -> None:
    body = body_of(face(0))[:-2].ljust(size) + b"]}"
    with other(TRITON, tmp_path / "gate") as url, LiveGateway(url, FACE_DEADLINE_SECONDS=60) as gateway:
        tally = asyncio.run(burst(gateway.port, 100, body, 36, tmp_path / "gate"))
    assert tally.statuses == {200: 64, 503: 36}
    print(f"refused of a burst of {size} bytes: after at most {tally.quantile(503, 1.0):.3f} s")


async def regular(port: int, seconds: float) -> list[float]:
    """Twenty requests a second; seconds of each."""
    tally, body = Tally(), body_of(face(0))

    async def one() -> None:
        begun = time.monotonic()
        status, _ = await post(port, PATH, body)
        tally.add(status, time.monotonic() - begun)

    tasks = []
    for _ in range(round(20 * seconds)):
        tasks.append(asyncio.ensure_future(one()))
        await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    assert set(tally.statuses) == {200}
    return tally.seconds[200]


@pytest.mark.slow
def test_row43_a_thousand_slow_callers_do_not_slow_the_others(tmp_path: Path) -> None:
    """Half drip a header and half a body, a byte a second, and come back whenever they are cut off."""
    (tmp_path / "gate").touch()
    with other(TRITON, tmp_path / "gate") as url, LiveGateway(url) as gateway:
        alone = asyncio.run(regular(gateway.port, 10))
        with other(SLOW, gateway.port, 1000):
            beside = asyncio.run(regular(gateway.port, 15))
    p99 = [float(np.quantile(seconds, 0.99)) for seconds in (alone, beside)]
    print(f"p99 alone {p99[0]:.3f} s, beside a thousand {p99[1]:.3f} s")
    assert p99[1] < 1.1 * p99[0] + 0.01
