"""MTCNN's networks on ONNX Runtime: weights that `preprocess.prepare` wrote, as the callables that `mtcnn` takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime

from preprocess import fusion
from preprocess.cascade import Networks
from preprocess.insightface import LandmarkNetwork
from preprocess.pyramid import Array, Image
from preprocess.workers import Workers


def load(directory: Path, threads: int) -> Networks:
    """The three networks pnet.onnx, rnet.onnx and onet.onnx of a directory, run on so many threads.

    Each thread runs a network on a part of a photo by itself: threads that share one run wait for each other after
    every layer, and the layers are short.
    """
    cv2.setNumThreads(1)
    return Networks(
        pnet=_first(directory / "pnet.onnx"),
        rnet=_later(directory / "rnet.onnx", 24),
        onet=_later(directory / "onet.onnx", 48),
        workers=Workers(threads),
    )


def _first(path: Path) -> Callable[[Image], Array]:
    session = _session(fusion.over_pixels(_read(path)))

    def run(picture: Image) -> Array:
        rows = np.ascontiguousarray(picture).reshape(1, 1, len(picture), -1)
        return np.asarray(session.run(None, {"input": rows})[0][0])

    return run


def _later(path: Path, size: int) -> Callable[[Array], Array]:
    session = _session(fusion.over_patches(_read(path), size))

    def run(patches: Array) -> Array:
        return np.asarray(session.run(None, {"input": patches})[0])

    return run


def load_landmark_network(directory: Path) -> LandmarkNetwork | None:
    """InsightFace's lnet.onnx; None where the weights came without it."""
    path = directory / "lnet.onnx"
    if not path.is_file():
        return None
    session = _session(_read(path))
    outputs = [f"fc5_{point}" for point in range(1, 6)]
    return lambda patches: np.stack(session.run(outputs, {"input": patches}), axis=1)


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; run scripts/prepare-models")
    return onnx.load(path)


def _session(model: onnx.ModelProto) -> Any:
    """One thread, and no memory plan: ONNX Runtime would keep one for every shape of input it has ever seen."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
