"""Callers who know what they must be told."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
from PIL import Image
from skimage.data import astronaut

from tests.hostile.pictures import encode

TOLERANCE = 1e-4
HOST = "127.0.0.1"
PATH = "/service/FaceEmbedModel"
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


def face(number: int) -> bytes:
    """A picture of its own for each number: turned, shifted and scaled as no other."""
    left, top = 130 + number % 10 * 4, 30 + number // 10 % 10 * 4
    turned = Image.fromarray(astronaut()).rotate(number * 1.7, center=(230, 130))
    return encode(turned.crop((left, top, left + 130, top + 150)))


def body_of(picture: bytes) -> bytes:
    return json.dumps({"cnt": 1, "images": [base64.b64encode(picture).decode()]}).encode()


@dataclass
class Tally:
    """What callers saw. Seconds are of answers by status."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    wrong: int = 0
    swapped: int = 0
    last_failure: float = 0.0  # time.monotonic() of the last answer that was not 200

    def add(self, status: int, seconds: float) -> None:
        self.seconds.setdefault(status, []).append(seconds)

    @property
    def statuses(self) -> dict[int, int]:
        return {status: len(times) for status, times in sorted(self.seconds.items())}

    @property
    def slowest(self) -> float:
        """Seconds of the slowest answer of any status."""
        return max((max(times) for times in self.seconds.values()), default=0.0)

    def quantile(self, status: int, share: float) -> float:
        """Seconds; 0 where there was no such answer."""
        times = self.seconds.get(status)
        return float(np.quantile(times, share)) if times else 0.0


async def post(port: int, path: str, body: bytes, seconds: float = 15.0) -> tuple[int, bytes]:
    """One request on a connection of its own: its status and body; 0 where the connection failed."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    async def exchange() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(head.encode() + body)  # and listens meanwhile: a refusal may come before all is sent
            told = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(told)
            return int(told[9:12]), await reader.readexactly(int(length[1])) if length else await reader.read()
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)  # in which the connection is closed

    try:
        return await asyncio.wait_for(exchange(), seconds)
    except (OSError, EOFError, asyncio.TimeoutError):
        return 0, b""


@dataclass(frozen=True)
class Known:
    """Requests, and float32[n,512], the row that each must be answered with."""

    bodies: list[bytes]
    rows: np.ndarray


async def learn(port: int, pictures: int) -> Known:
    """The right answers, taken one at a time, so that no batch can have mixed them."""
    bodies = [body_of(face(number)) for number in range(pictures)]
    rows = []
    for body in bodies:
        status, answer = await post(port, PATH, body)
        if status != 200:
            raise RuntimeError(f"the server answered {status} before there was any load")
        rows.append(json.loads(answer)[0])
    own = np.array(rows)
    near = own @ own.T - 2 * np.eye(len(own))
    if near.max() > 1 - TOLERANCE:
        raise RuntimeError("two of the pictures are too much alike to tell a swap")
    return Known(bodies, own)


async def identity(port: int, callers: int, known: Known, tally: Tally, going: Callable[[], bool]) -> None:
    """Callers without a pause, each with another picture every time, whose answers are held against the right ones."""

    async def call(caller: int) -> None:
        number = caller * 7
        while going():
            number = (number + 1 + caller) % len(known.bodies)
            begun = time.monotonic()
            status, answer = await post(port, PATH, known.bodies[number])
            tally.add(status, time.monotonic() - begun)
            if status == 200:
                row = np.array(json.loads(answer)[0])
                if np.abs(row - known.rows[number]).max() > TOLERANCE:
                    tally.wrong += 1
                    tally.swapped += int(np.argmax(known.rows @ row)) != number
            else:
                tally.last_failure = time.monotonic()
                await asyncio.sleep(0.05)

    await asyncio.gather(*(call(caller) for caller in range(callers)))


async def arrivals(
    port: int, a_second: float, seconds: float, requests: list[tuple[str, bytes]], regular: bool = False
) -> Tally:
    """Open arrivals: so many requests a second, at random moments (Poisson) or at even distances, whether or not the
    last ones are answered."""
    tally, random = Tally(), np.random.default_rng(0)
    tasks: set[asyncio.Task[None]] = set()

    async def one(path: str, body: bytes, due: float) -> None:
        status, _ = await post(port, path, body)
        tally.add(status, time.monotonic() - due)

    begun = time.monotonic()
    due = begun
    index = 0
    while due < begun + seconds:
        await asyncio.sleep(max(due - time.monotonic(), 0))
        task = asyncio.create_task(one(*requests[index % len(requests)], due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        index += 1
        due += 1 / a_second if regular else random.exponential(1 / a_second)
    await asyncio.gather(*tasks)
    return tally


async def closed(port: int, callers: int, seconds: float, requests: list[tuple[str, bytes]]) -> Tally:
    """So many callers without a pause."""
    tally = Tally()
    end = time.monotonic() + seconds
    turns = cycle(requests)

    async def call() -> None:
        while time.monotonic() < end:
            path, body = next(turns)
            begun = time.monotonic()
            status, _ = await post(port, path, body)
            tally.add(status, time.monotonic() - begun)

    await asyncio.gather(*(call() for _ in range(callers)))
    return tally
