"""What an engine costs: `python -m tests.preprocess.prepare.measure REPOSITORY facenet|arcface ENGINE THREADS`.

Prints the seconds to load and run once, the most memory the process held, and what a face takes alone and in a
batch of 32: time, and processor time, which other work on the machine changes little. Each is the least of several.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from preprocess.engines import load_embedder

SHAPES = {"facenet": (160, 160, 3), "arcface": (3, 112, 112)}


def main(repository: Path, model: str, engine: str, threads: int) -> None:
    faces = np.random.default_rng(0).uniform(0, 255, (32, *SHAPES[model])).astype(np.float32)
    begun = time.perf_counter()
    run = load_embedder(engine, repository / model / "1", threads)
    run(faces[:1])
    loaded = time.perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{model} {engine}, {threads} threads: ready in {loaded:.1f} s, {memory:.0f} MB")
    for count, times in ((1, 30), (32, 5)):
        seconds, work = least(lambda count=count: run(faces[:count]), times)
        print(f"  {count:2} at once: {1000 * seconds / count:.1f} ms a face, {1000 * work / count:.1f} ms of processor")


def least(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Gives the least seconds, and the least seconds of processor, that several calls took."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter(), time.process_time()
        call()
        taken.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    return min(seconds for seconds, _ in taken), min(work for _, work in taken)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
