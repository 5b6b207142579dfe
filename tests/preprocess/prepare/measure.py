"""What an engine costs: `python -m tests.preprocess.prepare.measure REPOSITORY facenet|arcface ENGINE THREADS`.

Prints the seconds to load and run once, the memory the process then holds, and the time a face takes alone and
in a batch of 32 (the quickest of several runs: what the machine can do when nothing else runs).
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
    alone, together = quickest(lambda: run(faces[:1]), 20), quickest(lambda: run(faces), 5) / len(faces)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{model} {engine}, {threads} threads: loaded in {loaded:.1f} s, {memory:.0f} MB at most, "
        f"{1000 * alone:.1f} ms a face alone, {1000 * together:.1f} in a batch of 32"
    )


def quickest(call: Callable[[], object], times: int) -> float:
    """Gives the seconds of the quickest of several calls."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
