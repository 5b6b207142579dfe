"""The int8 form of a prepared network: static, calibrated on faces, for processors with VNNI.

Weights and the tensors between layers become whole numbers of eight bits, and the convolutions compute with those.
Depthwise convolutions stay in float32, where they are as fast and round nothing, and so does the last layer: it takes
next to no time, and its numbers are the embedding. The functions below run in a child process each.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from preprocess.engines import Array

OPERATORS = ["Conv", "Concat", "MaxPool", "AveragePool", "Relu"]
"""Between two of these no tensor need become float32 again. Not the sums of residual networks: rounded after each of a
hundred layers, they drift twice as far."""
QUIET = 1e-3
"""Of the loudest channel: none is taken for quieter than this, so that no weight grows without bound."""


def write(source: Path, faces: Array, target: Path) -> None:
    """Writes the int8 form of the network `source` to `target`, calibrated on `faces` float32[n, ...].

    The range of each tensor is from the smallest to the largest value that any face gives. Weights have seven bits of
    the eight: processors without VNNI add two products in 16 bits, which eight would overflow.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        simpler = Path(folder) / "simpler.onnx"
        quant_pre_process(str(source), str(simpler), skip_symbolic_shape=True)
        model = onnx.load(simpler)
    equalise(model, faces)
    quantize_static(
        model,
        str(target),
        _reader(model.graph.input[0].name, faces),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=OPERATORS,
        nodes_to_exclude=_depthwise(model.graph),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _depthwise(graph: onnx.GraphProto) -> list[str]:
    """The names of the convolutions whose filters see one channel each; names every node for it."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for number, node in enumerate(graph.node):
        node.name = node.name or f"node {number}"
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.input[1] in weights]
    return [node.name for node in convolutions if weights[node.input[1]].dims[1] == 1]


def _reader(name: str, faces: Array) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands the faces over one by one, as quantize_static asks for them."""

        def __init__(self) -> None:
            self.faces: Iterator[Array] = iter(faces)

        def get_next(self) -> dict[str, Array] | None:
            face = next(self.faces, None)
            return None if face is None else {name: face[None]}

    return Reader()


def equalise(model: onnx.ModelProto, faces: Array) -> None:
    """Makes the channels between two convolutions equally loud, without changing what the network computes.

    A tensor's 256 steps span its loudest channel; a channel a hundredth as loud is left with two or three. As ReLU and
    PReLU pass a positive factor on unchanged, the first convolution can make each channel louder or quieter and the
    second undo it. Where each filter of the second sees one channel only, that channel's weights have a scale of their
    own, and the activations are made equal; elsewhere weights and activations share the burden, as the root of both.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = list(_pairs(model.graph, weights))
    for (first, _, second), loudness in zip(pairs, _loudness(model, pairs, faces), strict=True):
        kernel = numpy_helper.to_array(weights[second.input[1]])
        alone = kernel.shape[1] == 1
        factor = np.maximum(loudness, max(QUIET * loudness.max(), np.finfo(np.float32).tiny))
        if not alone:
            factor = np.sqrt(factor / np.maximum(np.abs(kernel).max(axis=(0, 2, 3)), QUIET * np.abs(kernel).max()))
        factor = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        for name in first.input[1:]:
            value = numpy_helper.to_array(weights[name])
            _set(weights[name], value / factor.reshape(-1, *[1] * (value.ndim - 1)))
        _set(weights[second.input[1]], kernel * (factor[:, None, None, None] if alone else factor[:, None, None]))


def _pairs(graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]) -> Iterator[tuple[Any, Any, Any]]:
    """Convolution, activation and convolution where nothing else sees what passes between them."""
    uses = Counter(name for node in graph.node for name in node.input) + Counter(out.name for out in graph.output)
    made = {node.output[0]: node for node in graph.node}
    taken = {name: node for node in graph.node if node.op_type == "Conv" for name in node.input[:1]}
    for node in graph.node:
        if node.op_type in ("Relu", "PRelu") and uses[node.input[0]] == uses[node.output[0]] == 1:
            first, second = made.get(node.input[0]), taken.get(node.output[0])
            if first is None or first.op_type != "Conv" or second is None:
                continue
            ours = [*first.input[1:], second.input[1]]
            if all(name in weights and uses[name] == 1 for name in ours) and _is_plain(second, weights[ours[-1]]):
                yield first, node, second


def _is_plain(convolution: onnx.NodeProto, kernel: onnx.TensorProto) -> bool:
    """Whether each filter sees all channels, or each one filter of its own."""
    groups = next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)
    return groups == 1 or (groups == kernel.dims[0] and kernel.dims[1] == 1)


def _loudness(model: onnx.ModelProto, pairs: list[tuple[Any, Any, Any]], faces: Array) -> list[Array]:
    """The largest absolute value of each channel before each pair's activation, over all faces."""
    import onnxruntime

    names = [activation.input[0] for _, activation, _ in pairs]
    if not names:
        return []
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    loudest: list[Array] = [np.zeros(1, np.float32)] * len(names)
    for face in faces:
        tensors = session.run(names, {model.graph.input[0].name: face[None]})
        loudest = [
            np.maximum(before, np.abs(now).max(axis=(0, 2, 3))) for before, now in zip(loudest, tensors, strict=True)
        ]
    return loudest


def _set(tensor: onnx.TensorProto, value: Array) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), tensor.name))
