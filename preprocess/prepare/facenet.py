"""FaceNet: from any accepted file to `facenet/1/model.graphdef` and `facenet/1/model.onnx`.

Both take `input` float32[N,S,S,3], RGB, and give `embeddings` float32[N,D] of unit length, for any N. The
functions below import TensorFlow: they run in a child process each.
"""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.engines import Array
from preprocess.facenet import SIZE  # where the file does not say: what the published networks take
from preprocess.prepare import folding, native, onnx_file, tensorflow_forms
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.forms import Checkpoint
from preprocess.prepare.graphdef import Graph, Tensor

TOLERANCE = 1e-5
SIZES = range(64, 513)
"""Sides of the pictures that are served."""


def pictures(count: int, size: int) -> Array:
    """Gives float32[count,size,size,3] in the range of whitened pictures: noise, and noise made smooth."""
    random = np.random.default_rng(20180408)
    noise = random.normal(size=(count, size, size, 3))
    noise[::2] = np.cumsum(np.cumsum(noise[::2], axis=1), axis=2)
    noise -= noise.mean(axis=(1, 2, 3), keepdims=True)
    noise /= noise.std(axis=(1, 2, 3), keepdims=True)
    return noise.astype(np.float32)


def write_graph(checkpoint: Checkpoint, target: Path) -> int:
    """Writes a checkpoint's canonical graph; gives the side of the pictures it takes.

    Raises PreparationError if the checkpoint cannot be read, or gives a face another embedding in a batch.
    """
    graph, fed, output = tensorflow_forms.read(checkpoint)
    fixed, size, channels_first = _layout(graph, fed)
    if fixed:
        graph = _any_batch(graph, fed)
    faces = pictures(3, size)
    for unit in (False, True):  # a network that does not end in unit length is made to
        made = _canonical(graph, fed, output, size, channels_first, unit)
        target.write_bytes(made.SerializeToString(deterministic=True))
        together = native.tensorflow(target, faces)
        if together.ndim != 2 or len(together) != len(faces) or not np.isfinite(together).all():
            raise PreparationError(f"the network gives {list(together.shape)} for 3 faces, or not finite numbers")
        if np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-3:
            break
    alone = np.concatenate([native.tensorflow(target, face[None]) for face in faces])
    if not (difference := native.largest_difference(together, alone)) <= TOLERANCE:
        raise PreparationError(f"the network gives a face another embedding in a batch (by {difference:.1e})")
    return size


def _layout(graph: Graph, fed: str) -> tuple[bool, int, bool]:
    """Tells whether the batch is fixed, the side of the pictures, and whether colours come before rows."""
    entry = next(node for node in graph.node if node.name == fed)
    shape = [dimension.size for dimension in entry.attr["shape"].shape.dim]
    batch, *sizes = shape if len(shape) == 4 else [-1, -1, -1, 3]
    channels_first = sizes[0] == 3 and sizes[2] != 3
    sides = set(sizes[1:] if channels_first else sizes[:2]) - {-1, 0}
    channels = sizes[0] if channels_first else sizes[2]
    side = sides.pop() if sides else SIZE
    if sides or channels not in (3, -1) or side not in SIZES:
        raise PreparationError(f"the network takes pictures of {shape}; square RGB pictures of 64 to 512 are served")
    return batch > 0, side, channels_first


def _any_batch(graph: Graph, fed: str) -> Graph:
    """Rewrites the reshapes of a graph made for a fixed batch so that any number of faces passes."""
    import tensorflow as tf

    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph, name="")
    batch = whole.get_operation_by_name(fed).outputs[0].shape[0]
    for node in list(graph.node):
        shape = whole.get_operation_by_name(node.name).outputs[0].shape
        if node.op == "Reshape" and shape.rank and shape[0] == batch and shape.is_fully_defined():
            constant = graph.node.add(op="Const", name=f"{node.name}/any_batch")
            constant.attr["dtype"].type = tf.int32.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([-1, *shape[1:]], tf.int32))
            node.input[1] = constant.name
            node.attr["Tshape"].type = tf.int32.as_datatype_enum
    return graph


def _canonical(graph: Graph, fed: str, output: Tensor, size: int, channels_first: bool, unit: bool) -> Any:
    import tensorflow as tf

    with tf.Graph().as_default() as whole:
        faces = tf.compat.v1.placeholder(tf.float32, [None, size, size, 3], name="input")
        taken = tf.transpose(faces, [0, 3, 1, 2]) if channels_first else faces
        name, index = output
        (result,) = tf.import_graph_def(graph, {f"{fed}:0": taken}, [f"{name}:{index}"], name="network")
        result = tf.nn.l2_normalize(result, 1, 1e-10) if unit else result
        tf.identity(result, name="embeddings")
    made = whole.as_graph_def()
    unused = next(node for node in made.node if node.name == f"network/{fed}")
    made.node.remove(unused)
    return made


def convert_to_onnx(graph: Path, target: Path) -> None:
    """Converts the canonical graph to ONNX with tensors `input` and `embeddings`."""
    import tensorflow as tf
    import tf2onnx

    with _prompt_collection():
        model, _ = tf2onnx.convert.from_graph_def(
            tf.compat.v1.GraphDef.FromString(graph.read_bytes()),
            input_names=["input:0"],
            output_names=["embeddings:0"],
            tensors_to_rename={"input:0": "input", "embeddings:0": "embeddings"},
            opset=13,
        )
    folding.fold_scales(model)
    target.write_bytes(model.SerializeToString())


@contextlib.contextmanager
def _prompt_collection() -> Iterator[None]:
    """Has garbage collected that holds itself: two dozen copies of the network, which tf2onnx makes one by one.

    Python puts that off while what it collected is little beside all that TensorFlow has loaded, which is left out
    here. FaceNet then takes 2.7 GB instead of 6.5, and 10 s instead of 31.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(700, 5, 2)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def compare(graph: Path, model: Path, size: int) -> tuple[int, float]:
    """Runs both files on the same faces; gives the embedding's size and the largest difference.

    Raises PreparationError if they disagree.
    """
    faces = pictures(5, size)
    reference, converted = native.tensorflow(graph, faces), native.onnxruntime(model, faces)[0]
    difference = native.largest_difference(reference, converted)
    if not difference <= TOLERANCE:
        raise PreparationError(f"the ONNX conversion differs from TensorFlow by {difference:.1e}")
    return reference.shape[1], difference


def from_onnx(checkpoint: Checkpoint, target: Path) -> tuple[int, int, float]:
    """Writes `model.onnx` from an ONNX file; gives the pictures' side, the embedding's size, the difference.

    The difference is between the file as it came, run face by face, and the file that is served.
    """
    (source,) = checkpoint.files
    model = onnx_file.read(source)
    _, channels_first, side = onnx_file.picture_input(model)
    size = side or SIZE
    if size not in SIZES:
        raise PreparationError(f"the network takes pictures of {size}x{size}; sides of 64 to 512 are served")
    output = onnx_file.embedding_output(model, "embeddings")
    faces = pictures(3, size)
    axes = (0, 3, 1, 2) if channels_first else (0, 1, 2, 3)
    for unit in (False, True):
        made = onnx_file.wrapped(
            model,
            ("input", "embeddings"),
            ("N", size, size, 3),
            output=output,
            transpose=axes if channels_first else (),
            unit=unit,
        )
        target.write_bytes(made.SerializeToString())
        embeddings = native.onnxruntime(target, faces)[0]
        if embeddings.ndim == 2 and np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() < 1e-3:
            break
    width, difference = onnx_file.difference(source, output, target, faces, faces.transpose(axes))
    if not difference <= TOLERANCE:
        raise PreparationError(f"the network gives a face another embedding in a batch (by {difference:.1e})")
    return size, width, difference
