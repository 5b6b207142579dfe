"""What a photo costs on this machine: Tritons with cores of their own behind a gateway, as in docker/kubernetes."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import tritonclient.grpc as triton

from client.embedded import DIRECT
from scripts.benchmarks.processes import cpu_seconds
from scripts.planning.simulation import Outcome, Times
from tests.conftest import PROJECT, free_ports

LOG = PROJECT / ".cache" / "capacity.log"
METRIC = re.compile(r'nv_inference_(compute_infer_duration_us|exec_count|count)\{model="(\w+)"[^}]*\} (\S+)')


class Replicas:
    """Tritons, each bound to its own cores, and a gateway before them."""

    def __init__(self, stack: ExitStack, *cores: set[int]) -> None:
        self.metrics, addresses = [], []
        for own in cores:
            http, grpc, metrics = free_ports(3)
            ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
            self.triton = stack.enter_context(started("triton", *ports, cores=own, FACE_CORES=str(len(own))))
            addresses.append(f"127.0.0.1:{grpc}")
            self.metrics.append(f"http://127.0.0.1:{metrics}/metrics")
        self.grpc = addresses[0]
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.gateway = stack.enter_context(started("gateway", FACE_PORT=str(port), FACE_TRITON_URL=",".join(addresses)))
        deadline = time.monotonic() + 120
        while not ready(self.url):
            if time.monotonic() > deadline:
                sys.exit(f"capacity: the server is not ready after two minutes; its log is {LOG}")
            time.sleep(0.2)

    def load(self, photo: bytes, callers: int, seconds: float) -> Outcome:
        """Callers who each send the photo to /v1/embed as soon as they have their answer."""
        return asyncio.run(_closed(f"{self.url}/v1/embed", photo, callers, seconds))


@contextmanager
def started(program: str, *arguments: str, cores: set[int] | None = None, **environment: str) -> Iterator[int]:
    """A program of ours until the block ends; its process id."""
    command = [sys.executable, "-m", "client", program, *arguments]
    bind = None if cores is None else lambda: os.sched_setaffinity(0, cores)
    surroundings = {**os.environ, **environment}
    with LOG.open("a") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=surroundings, preexec_fn=bind, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def ready(url: str) -> bool:
    try:
        return bool(DIRECT.open(f"{url}/health/ready", timeout=2).status == 200)
    except OSError:
        return False


@dataclass(frozen=True)
class Spent:
    """Counters so far: runs, items and seconds of each model; processor seconds of Triton, gateway and callers."""

    runs: Mapping[str, float]
    items: Mapping[str, float]
    seconds: Mapping[str, float]
    processor: tuple[float, ...]

    @classmethod
    def by(cls, replicas: Replicas) -> "Spent":
        found: dict[str, dict[str, float]] = {"exec_count": {}, "count": {}, "compute_infer_duration_us": {}}
        for kind, model, number in METRIC.findall(DIRECT.open(replicas.metrics[0]).read().decode()):
            found[kind][model] = float(number)
        seconds = {model: spent / 1e6 for model, spent in found["compute_infer_duration_us"].items()}
        processor = tree_seconds(replicas.triton), tree_seconds(replicas.gateway), time.process_time()
        return cls(found["exec_count"], found["count"], seconds, processor)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(
            {model: runs - other.runs[model] for model, runs in self.runs.items()},
            {model: items - other.items[model] for model, items in self.items.items()},
            {model: seconds - other.seconds[model] for model, seconds in self.seconds.items()},
            tuple(mine - its for mine, its in zip(self.processor, other.processor, strict=True)),
        )


def measure(replicas: Replicas, photo: bytes, seconds: float) -> Times:
    """Of one replica that one caller asks. What it spends on questions whether it is well is taken off."""
    replicas.load(photo, 1, 2.0)  # warm
    start = Spent.by(replicas)
    time.sleep(seconds)
    rested = Spent.by(replicas)
    outcome = replicas.load(photo, 1, seconds)
    spent = (Spent.by(replicas) - rested) - (rested - start)
    photos = outcome.rate * seconds
    triton_seconds, gateway, caller = (processor / photos for processor in spent.processor)
    detect = spent.seconds["face_crops"] / photos
    few, many = _embed(replicas, 1), _embed(replicas, 16)
    embed, embed_face = np.linalg.solve([few[:2], many[:2]], [few[2], many[2]])
    if embed < 0:  # batches give nothing here, and the rest is noise
        embed, embed_face = 0.0, few[2] / few[1]
    rest = max(triton_seconds - detect - embed - embed_face, 0.0)
    return Times(detect, embed, embed_face, rest, gateway, caller)


def _embed(replicas: Replicas, batch: int) -> tuple[float, float, float]:
    """Runs of the network, faces in them and seconds, while it is asked for batches of that size."""
    client = triton.InferenceServerClient(replicas.grpc)
    faces = triton.InferInput("input", [batch, 160, 160, 3], "FP32")
    faces.set_data_from_numpy(np.random.default_rng(0).standard_normal((batch, 160, 160, 3)).astype(np.float32))
    before = Spent.by(replicas)
    for _ in range(max(128 // batch, 8)):
        client.infer("facenet", [faces])
    spent = Spent.by(replicas) - before
    return spent.runs["facenet"], spent.items["facenet"], spent.seconds["facenet"]


def tree_seconds(process: int) -> float:
    """Of processor, that a process and all of its children have spent."""
    children = [
        int(child)
        for thread in Path(f"/proc/{process}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return cpu_seconds(process) + sum(map(tree_seconds, children))


async def _closed(url: str, photo: bytes, callers: int, seconds: float) -> Outcome:
    answers: list[float] = []

    async def call(session: aiohttp.ClientSession, end: float) -> None:
        while (begun := time.perf_counter()) < end:
            form = aiohttp.FormData()
            form.add_field("image", photo, filename="photo.jpg")
            async with session.post(url, data=form) as answer:
                found = json.loads(await answer.read())
                assert len(found["images"][0]["faces"]) == 1, found
            answers.append(time.perf_counter() - begun)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=callers)) as session:
        begun = time.perf_counter()
        await asyncio.gather(*(call(session, begun + seconds) for _ in range(callers)))
    return Outcome.of(answers, time.perf_counter() - begun)
