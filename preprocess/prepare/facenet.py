"""FaceNet: from any accepted file to `facenet/1/model.graphdef` and `facenet/1/model.onnx`.

The functions below run in a child process each: TensorFlow is imported inside.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.engines import Array
from preprocess.prepare import graphdef, native
from preprocess.prepare.errors import PreparationError

TOLERANCE = 1e-5
SIZE = 160


@dataclass(frozen=True)
class Prepared:
    """What came out: the side of the picture, the numbers of an embedding, native against ONNX."""

    input_size: int
    embedding_size: int
    largest_difference: float


def faces(count: int, size: int) -> Array:
    """Gives float32[count,size,size,3] in the range of whitened pictures: noise, and noise made smooth."""
    random = np.random.default_rng(20180408)
    noise = random.normal(size=(count, size, size, 3)).astype(np.float32)
    noise[::2] = np.cumsum(np.cumsum(noise[::2], axis=1), axis=2)
    noise -= noise.mean(axis=(1, 2, 3), keepdims=True)
    noise /= noise.std(axis=(1, 2, 3), keepdims=True)
    return noise


def rewrite_graph(source: Path, target: Path) -> None:
    """Writes the canonical graph of a frozen one, and checks that it computes the same for any batch."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(source.read_bytes())
    graph = graphdef.folded(graph, output="embeddings", fed="input")
    graphdef.check_pure(graph)
    graph = graphdef.batched(graph, "input", SIZE)
    target.write_bytes(graph.SerializeToString(deterministic=True))
    pictures = faces(3, SIZE)
    together = native.tensorflow(target, pictures)
    alone = np.concatenate([native.tensorflow(source, picture[None]) for picture in pictures])
    if (difference := native.largest_difference(together, alone)) > TOLERANCE:
        raise PreparationError(f"the graph gives other embeddings in a batch than alone (by {difference:.1e})")


def convert_to_onnx(graph: Path, target: Path) -> None:
    """Converts the canonical graph to ONNX with tensors `input` and `embeddings`."""
    import tensorflow as tf
    import tf2onnx

    model, _ = tf2onnx.convert.from_graph_def(
        tf.compat.v1.GraphDef.FromString(graph.read_bytes()),
        input_names=["input:0"],
        output_names=["embeddings:0"],
        tensors_to_rename={"input:0": "input", "embeddings:0": "embeddings"},
        opset=13,
    )
    target.write_bytes(model.SerializeToString())


def compare(graph: Path, model: Path) -> Prepared:
    """Runs both files on the same faces; raises PreparationError if they disagree."""
    pictures = faces(5, SIZE)
    reference, converted = native.tensorflow(graph, pictures), native.onnxruntime(model, pictures)[0]
    difference = native.largest_difference(reference, converted)
    if not difference <= TOLERANCE:
        raise PreparationError(f"the ONNX conversion differs from TensorFlow by {difference:.1e}")
    return Prepared(SIZE, reference.shape[1], difference)
