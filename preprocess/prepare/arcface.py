"""ArcFace: from any accepted file to `arcface/1/model-symbol.json`, `model-0000.params` and `model.onnx`.

The checkpoint is in InsightFace's form: `data` float32[N,3,112,112] RGB 0..255 with the scaling inside the
network, `fc1` float32[N,D] not yet of unit length. The functions below run in a child process each.
"""

from pathlib import Path

import numpy as np

from preprocess.align import SIZE
from preprocess.engines import Array
from preprocess.prepare import mxnet_network, mxnet_onnx, native, onnx_file, tflite
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.forms import Checkpoint
from preprocess.prepare.mxnet_network import Network

TOLERANCE = 1e-5
TFLITE_TOLERANCE = 1e-4
OUTPUT = "fc1"
INSIGHTFACE_SCALE = (127.5, 127.5)
"""What InsightFace subtracts from a picture, and divides it by, where the network does not do it itself."""


def pictures(count: int) -> Array:
    """Gives float32[count,3,112,112] of whole numbers 0..255: noise, and noise made smooth."""
    random = np.random.default_rng(112)
    noise = random.normal(size=(count, 3, SIZE, SIZE))
    noise[::2] = np.cumsum(np.cumsum(noise[::2], axis=2), axis=3)
    noise -= noise.min(axis=(1, 2, 3), keepdims=True)
    noise *= 255 / noise.max(axis=(1, 2, 3), keepdims=True)
    return noise.round().astype(np.float32)


def from_tflite(data: bytes, folder: Path) -> Array:
    """Writes the checkpoint of a MobileFaceNet.tflite; gives the original's float32[4,D] on `pictures(4)`."""
    _write(tflite.convert(data), folder)
    return tflite.run(data, pictures(4))


def from_mxnet(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the checkpoint of an InsightFace network, cut off at `fc1`."""
    _write(mxnet_network.read(*checkpoint.files).pruned([OUTPUT]), folder)


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

    Raises PreparationError if they disagree, or disagree with the `original`'s float32[4,D] on `pictures(4)`.
    """
    faces = pictures(4)
    converted = native.onnxruntime(folder / "model.onnx", faces)[0]
    if converted.ndim != 2 or len(converted) != len(faces) or not np.isfinite(converted).all():
        raise PreparationError(f"the network gives {list(converted.shape)} for 4 faces, or not finite numbers")
    reference = native.mxnet(folder / "model-symbol.json", folder / "model-0000.params", faces)[0]
    if original is not None and not (apart := float(np.abs(original - reference).max())) <= TFLITE_TOLERANCE:
        raise PreparationError(f"the MXNet checkpoint differs from the TFLite original by {apart:.1e}")
    difference = native.largest_difference(reference, converted)
    if not difference <= TOLERANCE:
        raise PreparationError(f"the ONNX conversion differs from MXNet by {difference:.1e}")
    return reference.shape[1], difference


def from_onnx(checkpoint: Checkpoint, folder: Path) -> tuple[int, float]:
    """Writes `model.onnx` from an ONNX file; gives the embedding's size and the largest difference.

    The difference is between the file as it came, run face by face, and the file that is served.
    """
    (source,) = checkpoint.files
    model = onnx_file.read(source)
    entry, channels_first, side = onnx_file.picture_input(model)
    if side not in (0, SIZE):
        raise PreparationError(f"the network takes pictures of {side}x{side}; ArcFace's are {SIZE}x{SIZE}")
    scale = None if onnx_file.scales_inside(model, entry) else INSIGHTFACE_SCALE
    axes = (0, 1, 2, 3) if channels_first else (0, 2, 3, 1)
    output = onnx_file.embedding_output(model, OUTPUT)
    made = onnx_file.wrapped(
        model,
        ("data", OUTPUT),
        ("N", 3, SIZE, SIZE),
        output=output,
        transpose=() if channels_first else axes,
        scale=scale,
    )
    target = folder / "model.onnx"
    target.write_bytes(made.SerializeToString())
    faces = pictures(4)
    shown = (faces - scale[0]) / np.float32(scale[1]) if scale else faces
    width, difference = onnx_file.difference(source, output, target, faces, shown.transpose(axes))
    if not difference <= TOLERANCE:
        raise PreparationError(f"the network gives a face another embedding in a batch (by {difference:.1e})")
    return width, difference
