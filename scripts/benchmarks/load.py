"""Closed load on the servers, from this one process: so many callers, each with one request at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

import aiohttp
import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Load:
    """What callers saw: requests a second, and milliseconds an answer took."""

    rate: float
    p50: float
    p99: float
    errors: int


async def closed(ask: Ask, callers: int, seconds: float) -> Load:
    """Every caller asks again as soon as it has its answer."""
    times: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal errors
        while (begun := time.perf_counter()) < end:
            try:
                await ask()
                times.append(time.perf_counter() - begun)
            except Exception:
                errors += 1

    begun = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    elapsed = time.perf_counter() - begun
    ordered = sorted(times) or [float("nan")]
    return Load(len(times) / elapsed, 1e3 * median(ordered), 1e3 * ordered[int(0.99 * (len(ordered) - 1))], errors)


def over_http(url: str, body: bytes, callers: int, seconds: float) -> Load:
    async def main() -> Load:
        connector = aiohttp.TCPConnector(limit=callers)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask() -> None:
                async with session.post(url, data=body) as answer:
                    answer.raise_for_status()
                    await answer.read()

            await ask()
            return await closed(ask, callers, seconds)

    return asyncio.run(main())


def over_grpc(address: str, model: str, pictures: list[bytes], shape: list[int], callers: int, seconds: float) -> Load:
    """Each request holds `pictures`, as BYTES of `shape`."""

    async def main() -> Load:
        client = InferenceServerClient(address)
        image = InferInput("IMAGE", shape, "BYTES")
        image.set_data_from_numpy(np.array(pictures, object).reshape(shape))

        async def ask() -> None:
            await client.infer(model, [image])

        try:
            await ask()
            return await closed(ask, callers, seconds)
        finally:
            await client.close()

    return asyncio.run(main())
