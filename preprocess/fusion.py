"""MTCNN's networks written anew for ONNX Runtime on a CPU: the same functions, a quarter faster.

ONNX Runtime convolves in blocks of 16 channels, and leaves that layout, at a cost, for a PRelu or for a channel count
that is no multiple of 16. So channels are filled up with zeros, and a PReLU of slope a becomes what the layout has:

    prelu(x) = a x + (1 - a) relu(x)

Where every slope is below 1 the layer computes y = (1 - a) x instead, and one operation less is left:
a / (1 - a) y + relu(y). The first network, whose first layer is its largest, pools before it bends. Softmax, scaling
to (x - 127.5) / 128 and what turns a picture into a network's input are part of the first and last operations.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from preprocess.cascade import MEAN, SCALE
from preprocess.onnx_graph import Graph

Weights = NDArray[np.float64]
Indices = NDArray[np.intp]

BLOCK = 16  # channels of ONNX Runtime's layout; a convolution of fewer reads the plain layout and multiplies no zeros
STEEP = 0.99  # slopes from here on are not divided by 1 - a
# How layers are computed here whatever a file says of them, and what it means where it says nothing.
WAYS: dict[str, dict[str, Any]] = {
    "Conv": {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1},
    "MaxPool": {"strides": [2, 2], "pads": [0, 0, 0, 0], "dilations": [1, 1], "ceil_mode": 1},
    "Gemm": {"transB": 1},
}
UNSAID = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1, "ceil_mode": 0, "transB": 0}


@dataclass
class Layer:
    """A convolution [out, in, h, w] or a dense layer [out, in] with what follows it."""

    weight: Weights
    bias: Weights
    slope: Weights = field(default_factory=lambda: np.empty(0))  # of a PReLU; empty in a head
    pool: int = 0  # side of the max pooling's window


def over_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """pnet, from `input` uint8[n, 1, h, w * 3], RGB pixels as they lie in memory, to `output` float32[n, 5, h', w'].

    The numbers are the log-odds of a face and the four offsets. A row of pixels is a row of numbers to the first
    convolution, which walks it in strides of three.

    Raises:
        ValueError: the model has another structure.
    """
    chain, head = _read(model)
    first, *others = chain
    out, channels, height, width = first.weight.shape
    first.weight = first.weight.transpose(0, 2, 3, 1).reshape(out, 1, height, width * channels)
    graph = Graph()
    pixels = graph.add("Cast", "input", to=TensorProto.FLOAT)
    tensor, order = _pooled_first(graph, pixels, _scaled(first), strides=[1, channels])
    others[0].weight = others[0].weight[:, order]
    for place, layer in enumerate(others):
        tensor = _convolved(graph, tensor, layer, filled=place > 0)
    graph.convolution(tensor, _filled(head.weight, axis=1), head.bias, name="output")
    return graph.model({"input": (TensorProto.UINT8, ["n", 1, "h", "w"])})


def over_patches(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """rnet (size 24) or onet (48): `input` float32[n, 3, size, size], RGB, 0..255 -> `output` float32[n, 5 or 15].

    The numbers are the log-odds of a face, the four offsets, and for onet the ten landmarks.

    Raises:
        ValueError: the model has another structure.
    """
    chain, head = _read(model)
    chain[0] = _scaled(chain[0])
    graph = Graph()
    tensor = "input"
    for place, layer in enumerate(chain):
        convolved = layer.weight.ndim == 4
        tensor = _convolved(graph, tensor, layer, place > 0) if convolved else _dense(graph, tensor, layer)
    graph.add("Gemm", tensor, head.weight, head.bias, transB=1, name="output")
    return graph.model({"input": (TensorProto.FLOAT, ["n", 3, size, size])})


def _convolved(graph: Graph, tensor: str, layer: Layer, filled: bool) -> str:
    """filled: the tensor's channels are."""
    weight = _filled(layer.weight, axis=1) if filled else layer.weight
    if layer.slope.max() < STEEP:
        rise = 1 - layer.slope
        tensor = graph.convolution(tensor, _filled(weight * rise[:, None, None, None]), _filled(layer.bias * rise))
        tensor = graph.add("Add", graph.add("Relu", tensor), graph.scaled(tensor, _filled(layer.slope / rise)))
    else:
        tensor = graph.prelu(graph.convolution(tensor, _filled(weight), _filled(layer.bias)), _filled(layer.slope))
    return graph.pool(tensor, layer.pool) if layer.pool else tensor


def _dense(graph: Graph, tensor: str, layer: Layer) -> str:
    tensor = graph.add("Gemm", graph.add("Flatten", tensor), layer.weight, layer.bias, transB=1)
    return graph.add("PRelu", tensor, layer.slope)


def _pooled_first(graph: Graph, tensor: str, layer: Layer, strides: list[int]) -> tuple[str, Indices]:
    """Convolution, pooling and only then PReLU, over a quarter of the pixels; and where each channel comes from.

    A PReLU of slope a >= 0 rises, so that it may follow the pooling. One of slope a < 0 is max(x, a x): its greatest
    value in a window is the greater of p, the greatest x, and q, the greatest a x, one more channel of the convolution.
    """
    falling, rising = np.flatnonzero(layer.slope < 0), np.flatnonzero(layer.slope >= 0)
    order = np.concatenate([falling, rising])
    scaled = layer.slope[falling]
    weight = np.concatenate([layer.weight[order], layer.weight[falling] * scaled[:, None, None, None]])
    bias = np.concatenate([layer.bias[order], layer.bias[falling] * scaled])
    pooled = graph.pool(graph.convolution(tensor, _filled(weight), _filled(bias), strides=strides), layer.pool)
    p, monotone, q = graph.split(pooled, len(falling), len(rising), len(falling))
    bent = graph.add("PRelu", monotone, layer.slope[rising].reshape(-1, 1, 1))
    return graph.add("Concat", graph.add("Max", p, q), bent, axis=1), order


def _scaled(layer: Layer) -> Layer:
    """A first layer for 0..255 in place of -1..1."""
    weight = layer.weight * SCALE
    return Layer(weight, layer.bias - MEAN * weight.sum(axis=(1, 2, 3)), layer.slope, layer.pool)


def _filled(array: Weights, axis: int = 0) -> Weights:
    """With zeros up to the next multiple of BLOCK channels."""
    missing = -array.shape[axis] % BLOCK
    return np.pad(array, [(0, missing if at == axis else 0) for at in range(array.ndim)])


def _read(model: onnx.ModelProto) -> tuple[list[Layer], Layer]:
    """The chain of layers, and all heads as one: the log-odds of a face, offsets, landmarks."""
    try:
        chain, heads = _layers(model)
    except KeyError:
        raise ValueError("this is no MTCNN network: its layers follow each other in another order") from None
    names = ["prob", "reg", "landmarks"][: len(heads)]
    if sorted(names) != sorted(heads) or not chain:
        raise ValueError("this is no MTCNN network: its outputs are not prob, reg and perhaps landmarks")
    joined = (np.concatenate([getattr(heads[name], part) for name in names]) for part in ("weight", "bias"))
    return chain, Layer(*joined)


def _layers(model: onnx.ModelProto) -> tuple[list[Layer], dict[str, Layer]]:
    """The layers in their order, and the heads by their outputs' names."""
    constants = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    chain: list[Layer] = []
    heads: dict[str, Layer] = {}
    made: dict[str, Layer] = {}  # by the tensor a layer gives
    for node in model.graph.node:
        source, target = node.input[0], node.output[0]
        said = _said(node)
        if node.op_type in ("Conv", "Gemm"):
            if len(node.input) < 3:
                raise ValueError(f"an MTCNN network has no {node.op_type} without a bias")
            heads[target] = made[target] = Layer(constants[node.input[1]], constants[node.input[2]])
        elif node.op_type == "PRelu":
            layer = made[target] = heads.pop(source)
            layer.slope = constants[node.input[1]].reshape(-1)
            chain.append(layer)
        elif node.op_type == "MaxPool":
            made[source].pool = said["kernel_shape"][0]
        elif node.op_type == "Softmax":
            heads["prob"] = _log_odds(heads.pop(source))
        elif node.op_type not in ("Flatten", "Gather"):
            raise ValueError(f"an MTCNN network has no {node.op_type}")
    return chain, heads


def _said(node: onnx.NodeProto) -> dict[str, Any]:
    """A layer's attributes; raises ValueError for a layer that is computed in another way than here."""
    said = {**UNSAID, **{item.name: helper.get_attribute_value(item) for item in node.attribute}}
    for name, value in WAYS.get(node.op_type, {}).items():
        if said[name] != value:
            raise ValueError(f"an MTCNN network has no {node.op_type} with {name} of {said[name]}, but of {value}")
    return said


def _log_odds(two: Layer) -> Layer:
    """The softmax of two numbers depends on their difference alone."""
    return Layer(two.weight[1:] - two.weight[:1], two.bias[1:] - two.bias[:1])
