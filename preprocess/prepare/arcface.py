"""ArcFace: from any accepted file to `arcface/1/model-symbol.json`, `model-0000.params` and `model.onnx`.

The checkpoint is in InsightFace's form: `data` float32[N,3,112,112] RGB 0..255 with the scaling inside the
network, `fc1` float32[N,D] not yet of unit length. The functions that take TensorFlow or MXNet run in a child.
"""

from pathlib import Path

import numpy as np

from preprocess.engines import Array
from preprocess.prepare import mxnet_network, mxnet_onnx, native, tflite
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_network import Network

TOLERANCE = 1e-5
TFLITE_TOLERANCE = 1e-4
SIZE = 112
OUTPUT = "fc1"


def faces(count: int) -> Array:
    """Gives float32[count,3,112,112] of whole numbers 0..255: noise, and noise made smooth."""
    random = np.random.default_rng(112)
    noise = random.normal(size=(count, 3, SIZE, SIZE))
    noise[::2] = np.cumsum(np.cumsum(noise[::2], axis=2), axis=3)
    noise -= noise.min(axis=(1, 2, 3), keepdims=True)
    noise *= 255 / noise.max(axis=(1, 2, 3), keepdims=True)
    return noise.round().astype(np.float32)


def from_tflite(data: bytes, folder: Path) -> Array:
    """Writes the checkpoint of a MobileFaceNet.tflite; gives the original's float32[4,D] on `faces(4)`."""
    _write(tflite.convert(data), folder)
    return tflite.run(data, faces(4))


def from_checkpoint(symbol: Path, params: Path, folder: Path) -> None:
    """Writes the checkpoint of an InsightFace network, cut off at `fc1`."""
    _write(mxnet_network.read(symbol, params).pruned([OUTPUT]), folder)


def _write(network: Network, folder: Path) -> None:
    symbol, params = network.files()
    (folder / "model-symbol.json").write_bytes(symbol)
    (folder / "model-0000.params").write_bytes(params)


def convert_to_onnx(folder: Path) -> None:
    """Writes `model.onnx` of the checkpoint in `folder`."""
    network = mxnet_network.read(folder / "model-symbol.json", folder / "model-0000.params")
    model = mxnet_onnx.convert(network.symbol, network.weights, {"data": ("N", 3, SIZE, SIZE)})
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def compare(folder: Path, original: Array | None) -> tuple[int, float]:
    """Runs the checkpoint with MXNet and ONNX Runtime; gives the embedding's size and the largest difference.

    Raises PreparationError if they disagree, or disagree with the `original`'s float32[4,D] on `faces(4)`.
    """
    pictures = faces(4)
    reference = native.mxnet(folder / "model-symbol.json", folder / "model-0000.params", pictures)[0]
    converted = native.onnxruntime(folder / "model.onnx", pictures)[0]
    if original is not None and not (apart := float(np.abs(original - reference).max())) <= TFLITE_TOLERANCE:
        raise PreparationError(f"the MXNet checkpoint differs from the TFLite original by {apart:.1e}")
    difference = native.largest_difference(reference, converted)
    if not difference <= TOLERANCE:
        raise PreparationError(f"the ONNX conversion differs from MXNet by {difference:.1e}")
    return reference.shape[1], difference
