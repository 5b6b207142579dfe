"""MTCNN's networks on ONNX Runtime: weights that `preprocess.prepare` wrote, as the callables that `mtcnn` takes."""

from pathlib import Path
from typing import Any

import numpy as np

from preprocess.engines import onnx_session
from preprocess.insightface import LandmarkNetwork
from preprocess.mtcnn import Array, Networks


def load(directory: Path, threads: int) -> Networks:
    """The three networks pnet.onnx, rnet.onnx and onet.onnx of a directory."""

    def network(name: str) -> Any:
        session = onnx_session(directory / f"{name}.onnx", threads)
        return lambda batch: session.run(None, {"input": batch})

    return Networks(pnet=network("pnet"), rnet=network("rnet"), onet=network("onet"))


def load_landmark_network(directory: Path, threads: int) -> LandmarkNetwork | None:
    """InsightFace's lnet.onnx; None where the weights came without it."""
    path = directory / "lnet.onnx"
    if not path.is_file():
        return None
    session = onnx_session(path, threads)

    def lnet(patches: Array) -> Array:
        points = session.run(None, {"input": patches})
        return np.stack(points, axis=1) if len(points) > 1 else points[0].reshape(-1, 5, 2)

    return lnet
