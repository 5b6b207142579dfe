"""MTCNN's networks on ONNX Runtime: weights that `preprocess.prepare` wrote, as the callables that `mtcnn` takes."""

from pathlib import Path
from typing import Any

import numpy as np

from preprocess.engines import onnx_session
from preprocess.insightface import LandmarkNetwork
from preprocess.mtcnn import Networks


def load(directory: Path, threads: int) -> Networks:
    """The three networks pnet.onnx, rnet.onnx and onet.onnx of a directory."""

    def network(name: str, *outputs: str) -> Any:
        session = onnx_session(directory / f"{name}.onnx", threads)
        return lambda batch: session.run(outputs, {"input": batch})

    return Networks(
        pnet=network("pnet", "prob", "reg"),
        rnet=network("rnet", "prob", "reg"),
        onet=network("onet", "prob", "reg", "landmarks"),
    )


def load_landmark_network(directory: Path, threads: int) -> LandmarkNetwork | None:
    """InsightFace's lnet.onnx; None where the weights came without it."""
    path = directory / "lnet.onnx"
    if not path.is_file():
        return None
    session = onnx_session(path, threads)

    outputs = [f"fc5_{point}" for point in range(1, 6)]
    return lambda patches: np.stack(session.run(outputs, {"input": patches}), axis=1)
