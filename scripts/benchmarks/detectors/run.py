"""One detector in a process of its own: `-m scripts.benchmarks.detectors.run NAME WEIGHTS THREADS`.

Each line read says how many times to detect in which picture, a .npy file of uint8[h, w, 3]; each line written is JSON:
the median of the milliseconds, and the faces found.
The first line written says that the detector is loaded. All detectors get the same parameters: the original's.
"""

import json
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Detector = Callable[[NDArray[np.uint8]], int]

MIN_FACE_SIZE, THRESHOLDS, FACTOR = 20, (0.6, 0.7, 0.7), 0.709


def ours(weights: Path, threads: int) -> Detector:
    from preprocess import cascade, mtcnn

    loaded = mtcnn.load(weights, threads)
    return lambda image: len(mtcnn.detect(image, loaded, cascade.Options()).boxes)


def reference(weights: Path, threads: int) -> Detector:
    from scripts.benchmarks.detectors.reference import Reference

    cv2.setNumThreads(threads)
    detector = Reference(weights, threads)
    return lambda image: len(detector.detect(image)[0])


def mtcnn_package(weights: Path, threads: int) -> Detector:
    """The `mtcnn` package, with its own weights."""
    import tensorflow as tf
    from mtcnn import MTCNN

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    detector = MTCNN(device="CPU:0")
    options = {
        "min_face_size": MIN_FACE_SIZE,
        "scale_factor": FACTOR,
        "threshold_pnet": THRESHOLDS[0],
        "threshold_rnet": THRESHOLDS[1],
        "threshold_onet": THRESHOLDS[2],
    }
    return lambda image: len(detector.detect_faces(image, **options))


def facenet_pytorch(weights: Path, threads: int) -> Detector:
    """The `facenet-pytorch` package's MTCNN, with its own weights.

    It takes one function of torchvision that MTCNN needs, and torchvision has no build for torch without CUDA. So
    that function, non-maximum suppression of one group of boxes, is given to it here; it is not a slower one.
    """
    import torch

    stubs = {
        name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms", "torchvision.ops.boxes")
    }
    stubs["torchvision.ops"] = types.ModuleType("torchvision.ops")
    stubs["torchvision.transforms"].functional = None  # type: ignore[attr-defined]
    stubs["torchvision.ops.boxes"].batched_nms = _batched_nms  # type: ignore[attr-defined]
    sys.modules.update(stubs)
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    detector = MTCNN(
        min_face_size=MIN_FACE_SIZE, thresholds=list(THRESHOLDS), factor=FACTOR, keep_all=True, device="cpu"
    )

    def detect(image: NDArray[np.uint8]) -> int:
        boxes, _ = detector.detect(image)
        return 0 if boxes is None else len(boxes)

    return detect


def _batched_nms(boxes: Any, scores: Any, groups: Any, threshold: float) -> Any:
    import torch

    from preprocess import boxes as box

    # Torchvision's corners lie outside the box; one pixel less makes them ours.
    corners = boxes.numpy().astype(np.float64) - np.array([0, 0, 1, 1])
    return torch.from_numpy(box.nms(corners, scores.numpy(), threshold))


def peak_megabytes() -> float:
    """Of this program's own memory: getrusage would give the parent's where that had more when it forked."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    name, weights, threads = sys.argv[1:4]
    detect = globals()[name](Path(weights), int(threads))
    print(json.dumps({"loaded": name, "peak": peak_megabytes()}), flush=True)
    for line in sys.stdin:
        times, file = line.strip().split(" ", 1)
        image = np.load(file)
        taken = []
        for _ in range(int(times)):
            begun = time.perf_counter()
            faces = detect(image)
            taken.append((time.perf_counter() - begun) * 1e3)
        print(json.dumps({"milliseconds": median(taken), "faces": faces, "peak": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main()
