"""Runs a prepared network with each engine, for the comparison that decides whether a conversion is accepted.

`tensorflow` and `mxnet` are imported inside the functions: call them in a child process.
"""

from pathlib import Path

import numpy as np

from preprocess.engines import Array


def mxnet(symbol: Path, params: Path, data: Array) -> list[Array]:
    """Runs an MXNet checkpoint on `data`; gives its outputs. MXNet reads the files itself."""
    np.bool = bool  # type: ignore[attr-defined]  # MXNet 1.9.1 asks numpy for it on import
    import mxnet as mx

    arrays = mx.nd.load(str(params)) or {}  # MXNet gives an empty list for a file without names
    network = mx.sym.load(str(symbol))
    arguments = {name[4:]: array for name, array in arrays.items() if name.startswith("arg:")}
    states = {name[4:]: array for name, array in arrays.items() if name.startswith("aux:")}
    shapes, _, _ = network.infer_shape_partial(data=data.shape)
    for name, shape in zip(network.list_arguments(), shapes, strict=True):
        if name not in arguments:  # the data, and the labels of a loss that is only run forward
            arguments[name] = mx.nd.zeros(shape)
    arguments["data"] = mx.nd.array(data)
    executor = network.bind(mx.cpu(), arguments, aux_states=states, grad_req="null")
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def tensorflow(graph: Path, faces: Array) -> Array:
    """Runs `embeddings:0` of a frozen graph on faces fed to `input:0`."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(graph.read_bytes())
    with tf.Graph().as_default():
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session() as session:
            result: Array = session.run("embeddings:0", {"input:0": faces})
    return result


def onnxruntime(model: Path, data: Array, output: str | None = None) -> list[Array]:
    """Runs an ONNX model with one input; gives its outputs, or the one that is named."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run([output] if output else None, {session.get_inputs()[0].name: data})
    return outputs


def largest_difference(one: Array, other: Array) -> float:
    """Gives the largest difference between two sets of embeddings, each row brought to unit length."""
    pair = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    return float(np.abs(pair[0] - pair[1]).max())
