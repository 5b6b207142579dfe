"""Load on the servers: by gRPC with perf_analyzer, by HTTP from this one process."""

import asyncio
import csv
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import aiohttp

from tests.load.callers import arrivals

Ask = Callable[[], Awaitable[None]]
MARGIN = 0.2  # of the time measured, before it and after it


@dataclass(frozen=True)
class Load:
    """What callers saw: requests a second, and milliseconds an answer took."""

    rate: float
    p50: float
    p99: float
    errors: int


async def closed(ask: Ask, callers: int, seconds: float) -> Load:
    """Every caller asks again as soon as it has its answer.

    An answer counts for the share of its time that was measured: a batch gives many at once, and a moment's difference
    would count them all or none.
    """
    answers: list[tuple[float, float]] = []  # when it was asked for and when it came
    errors = 0
    start = time.perf_counter() + MARGIN * seconds
    end = start + seconds

    async def call() -> None:
        nonlocal errors
        while (begun := time.perf_counter()) < end + MARGIN * seconds:
            try:
                await ask()
                answers.append((begun, time.perf_counter()))
            except aiohttp.ClientError:
                errors += 1

    await asyncio.gather(*(call() for _ in range(callers)))
    counted = sum(max(0.0, min(came, end) - max(begun, start)) / (came - begun) for begun, came in answers)
    times = sorted(1e3 * (came - begun) for begun, came in answers if start <= came < end) or [float("nan")]
    return Load(counted / seconds, median(times), times[int(0.99 * (len(times) - 1))], errors)


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


def open_http(port: int, path: str, body: bytes, a_second: float, seconds: float) -> Load:
    """Callers who come at random moments, each with a connection of its own, whether or not others are answered."""
    tally = asyncio.run(arrivals(port, a_second, seconds, [(path, body)]))
    answered = tally.statuses.get(200, 0)
    p50, p99 = (1e3 * tally.quantile(200, share) for share in (0.5, 0.99))
    return Load(answered / seconds, p50, p99, sum(tally.statuses.values()) - answered)


def over_grpc(address: str, model: str, picture: bytes, callers: int, seconds: float) -> Load:
    """perf_analyzer, with three windows of half the time each.

    The rate is that of the last two: in the first its callers begin, and nobody is answered at once. p50 and p99 are of
    all three.
    """
    with tempfile.TemporaryDirectory(prefix="face-bench-") as folder:
        file, figures = Path(folder) / "picture", Path(folder) / "figures.csv"
        file.write_bytes(picture)
        command = [sys.executable, "-m", "client", "perf", f"--picture={file}", f"--triton={address}", model]
        command += [f"--concurrency-range={callers}", f"--measurement-interval={1e3 * seconds / 2:.0f}"]
        command += ["--stability-percentage=100", "-v", "-f", str(figures)]
        done = subprocess.run(command, capture_output=True, text=True)
        windows = [float(rate) for rate in re.findall(r"Pass \[\d+\] throughput: ([\d.]+)", done.stdout)]
        if not figures.is_file() or len(windows) < 2:
            sys.exit(f"bench: perf_analyzer failed:\n{done.stdout}{done.stderr}")
        row = next(csv.DictReader(figures.read_text().splitlines()))
    p50, p99 = (float(row[f"{name} latency"]) / 1e3 for name in ("p50", "p99"))
    return Load(mean(windows[1:]), p50, p99, errors=0)
