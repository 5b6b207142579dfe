"""One engine in a process of its own: seconds a batch and of processor, as JSON on standard output, for each line read.

A line holds a batch size and a number of seconds to run for.

Arguments: model, engine, precision, repository and, to compute on one, the number of a GPU.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from preprocess.engines import cores, load_embedder

SHAPES = {"facenet": (160, 160, 3), "arcface": (3, 112, 112)}


def main() -> None:
    model, engine, precision, repository, *gpu = sys.argv[1:]
    begun = time.perf_counter()
    folder = Path(repository) / model / "1"
    network = load_embedder(engine, folder, cores(), int(gpu[0]) if gpu else None, precision)
    print(json.dumps({"load_seconds": time.perf_counter() - begun}), flush=True)
    for line in sys.stdin:
        batch, seconds = (float(word) for word in line.split())
        faces = np.random.default_rng(0).normal(size=(int(batch), *SHAPES[model])).astype(np.float32)
        network(faces)
        times: list[float] = []
        end, spent = time.perf_counter() + seconds, time.process_time()
        while time.perf_counter() < end or len(times) < 3:
            begun = time.perf_counter()
            network(faces)
            times.append(time.perf_counter() - begun)
        print(json.dumps({"times": times, "processor_seconds": time.process_time() - spent}), flush=True)


if __name__ == "__main__":
    main()
