"""Detects faces in photos of many sizes and says how much memory is resident.

`-m scripts.benchmarks.detectors.soak WEIGHTS COUNT`
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import skimage

from preprocess import cascade, mtcnn
from preprocess.engines import cores


def main() -> None:
    weights, count = Path(sys.argv[1]), int(sys.argv[2])
    loaded = mtcnn.load(weights, cores())
    random = np.random.default_rng(0)
    photo = np.tile(skimage.data.astronaut(), (2, 2, 1))
    for number in range(1, count + 1):
        height, width = random.integers(20, 700, 2)
        top, left = random.integers(0, 1024 - 700, 2)
        mtcnn.detect(np.ascontiguousarray(photo[top : top + height, left : left + width]), loaded, cascade.Options())
        if number in (10, 50) or number % 100 == 0:
            print(json.dumps({"photos": number, "megabytes": resident()}), flush=True)


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
