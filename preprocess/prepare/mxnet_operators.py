"""MXNet's operators as ONNX nodes: one function an operator, in a table by MXNet's name.

Sources: the operators' parameter lists in MXNet 1.9's documentation and ONNX's operator specification (opset 13).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from preprocess.engines import Array
from preprocess.prepare.mxnet_symbol import Node


class Graph:
    """An ONNX graph as it grows: nodes, weights, and the rank of every tensor made so far."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self.ranks: dict[str, int] = {}

    def add(self, op: str, inputs: Sequence[str], output: str, rank: int, **attributes: Any) -> str:
        """Adds an ONNX node with one output of the given rank; gives the output's name."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        self.ranks[output] = rank
        return output

    def constant(self, name: str, value: Array) -> str:
        """Adds an array of the network itself (not from the file); gives its name."""
        self.initializers[name] = value
        return name

    def weight(self, node: Node, name: str) -> Array:
        """Gives an array from the `.params` file."""
        if name not in self.weights:
            raise node.error(f"needs the weights {name!r}, which the .params file does not hold")
        return self.weights[name]


Emitter = Callable[[Graph, Node, list[str]], None]
"""Adds the ONNX nodes of one MXNet node, given its inputs' names; the last output is named as the node."""


def _pair(node: Node, key: str, default: int) -> tuple[int, ...]:
    sizes = node.sizes(key, (default, default))
    if len(sizes) != 2:
        raise node.error(f"{key}={sizes} is not two sizes; only flat pictures are converted")
    return sizes


def _inputs(node: Node, sources: list[str], *counts: int) -> list[str]:
    if len(sources) not in counts:
        raise node.error(f"has {len(sources)} inputs, not {' or '.join(map(str, counts))}")
    return sources


def _convolution(graph: Graph, node: Node, sources: list[str]) -> None:
    _inputs(node, sources, 2 if node.flag("no_bias", False) else 3)
    kernel, pad = _pair(node, "kernel", 1), _pair(node, "pad", 0)
    if graph.weight(node, sources[1]).shape[0] != node.number("num_filter", 0):
        raise node.error(f"num_filter and the first dimension of {sources[1]!r} differ")
    graph.add(
        "Conv",
        sources,
        node.name,
        4,
        kernel_shape=kernel,
        strides=_pair(node, "stride", 1),
        pads=pad * 2,
        dilations=_pair(node, "dilate", 1),
        group=int(node.number("num_group", 1)),
    )


def _batch_norm(graph: Graph, node: Node, sources: list[str]) -> None:
    data, gamma, beta, mean, variance = _inputs(node, sources, 5)
    if int(node.number("axis", 1)) != 1:
        raise node.error("only axis=1 is converted")
    if node.flag("fix_gamma", True):  # MXNet then takes gamma as one, whatever the file says
        gamma = graph.constant(f"{node.name}_fixed_gamma", np.ones_like(graph.weight(node, beta)))
    epsilon = node.number("eps", 1e-3)
    graph.add("BatchNormalization", [data, gamma, beta, mean, variance], node.name, graph.ranks[data], epsilon=epsilon)


def _leaky_relu(graph: Graph, node: Node, sources: list[str]) -> None:
    kind, rank = node.attrs.get("act_type", "leaky"), graph.ranks[sources[0]]
    if kind == "prelu":
        data, slope = _inputs(node, sources, 2)
        # ONNX lines up the slope with the last dimensions; MXNet with the channels, dimension 1.
        shaped = graph.weight(node, slope).reshape((-1,) + (1,) * (rank - 2))
        graph.add("PRelu", [data, graph.constant(f"{node.name}_slope", shaped)], node.name, rank)
    elif kind in ("leaky", "elu"):
        op = {"leaky": "LeakyRelu", "elu": "Elu"}[kind]
        graph.add(op, _inputs(node, sources, 1), node.name, rank, alpha=node.number("slope", 0.25))
    else:
        raise node.error(f"act_type={kind!r} cannot be converted")


def _activation(graph: Graph, node: Node, sources: list[str]) -> None:
    kinds = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
    kind = node.attrs.get("act_type", "")
    if kind not in kinds:
        raise node.error(f"act_type={kind!r} cannot be converted")
    graph.add(kinds[kind], _inputs(node, sources, 1), node.name, graph.ranks[sources[0]])


def _pooling(graph: Graph, node: Node, sources: list[str]) -> None:
    kind = node.attrs.get("pool_type", "max")
    if kind not in ("max", "avg"):
        raise node.error(f"pool_type={kind!r} cannot be converted")
    _inputs(node, sources, 1)
    if node.flag("global_pool", False):
        graph.add({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[kind], sources, node.name, 4)
        return
    convention = node.attrs.get("pooling_convention", "valid")
    if convention not in ("valid", "full") or (convention == "full" and kind == "avg"):
        raise node.error(f"{kind} pooling with pooling_convention={convention!r} cannot be converted")
    counted = {"count_include_pad": int(node.flag("count_include_pad", True))} if kind == "avg" else {}
    graph.add(
        {"max": "MaxPool", "avg": "AveragePool"}[kind],
        sources,
        node.name,
        4,
        kernel_shape=_pair(node, "kernel", 1),
        strides=_pair(node, "stride", 1),
        pads=_pair(node, "pad", 0) * 2,
        ceil_mode=int(convention == "full"),
        **counted,
    )


def _fully_connected(graph: Graph, node: Node, sources: list[str]) -> None:
    _inputs(node, sources, 2 if node.flag("no_bias", False) else 3)
    if graph.weight(node, sources[1]).shape[0] != node.number("num_hidden", 0):
        raise node.error(f"num_hidden and the first dimension of {sources[1]!r} differ")
    data = sources[0]
    if node.flag("flatten", True) and graph.ranks[data] != 2:
        data = graph.add("Flatten", [data], f"{node.name}_flat", 2, axis=1)
    if graph.ranks[data] != 2:
        raise node.error("only flatten=True is converted")
    graph.add("Gemm", [data, *sources[1:]], node.name, 2, transB=1)


def _scalar(op: str, reverse: bool = False) -> Emitter:
    def emit(graph: Graph, node: Node, sources: list[str]) -> None:
        data = _inputs(node, sources, 1)[0]
        value = np.array(node.number("scalar", 0), np.float32)
        scalar = graph.constant(f"{node.name}_scalar", value)
        graph.add(op, [scalar, data] if reverse else [data, scalar], node.name, graph.ranks[data])

    return emit


def _elementwise(op: str) -> Emitter:
    def emit(graph: Graph, node: Node, sources: list[str]) -> None:
        graph.add(op, _inputs(node, sources, 2), node.name, graph.ranks[sources[0]])

    return emit


def _unary(op: str) -> Emitter:
    def emit(graph: Graph, node: Node, sources: list[str]) -> None:
        graph.add(op, sources[:1], node.name, graph.ranks[sources[0]])

    return emit


def _softmax(graph: Graph, node: Node, sources: list[str]) -> None:
    rank = graph.ranks[sources[0]]
    if node.op == "softmax":
        axis = int(node.number("axis", -1))
    elif rank == 2 or node.attrs.get("mode") == "channel" or node.flag("multi_output", False):
        axis = 1
    else:
        raise node.error("only a softmax over the channels is converted")
    graph.add("Softmax", sources[:1], node.name, rank, axis=axis)


def _flatten(graph: Graph, node: Node, sources: list[str]) -> None:
    graph.add("Flatten", _inputs(node, sources, 1), node.name, 2, axis=1)


def _concat(graph: Graph, node: Node, sources: list[str]) -> None:
    graph.add("Concat", sources, node.name, graph.ranks[sources[0]], axis=int(node.number("dim", 1)))


def _pad(graph: Graph, node: Node, sources: list[str]) -> None:
    widths = node.sizes("pad_width", ())
    rank = graph.ranks[_inputs(node, sources, 1)[0]]
    if node.attrs.get("mode") != "constant" or len(widths) != 2 * rank:
        raise node.error("only mode='constant' with two widths for each dimension is converted")
    # MXNet gives before and after of each dimension in turn; ONNX all befores, then all afters.
    pads = graph.constant(f"{node.name}_pads", np.array(widths[0::2] + widths[1::2], np.int64))
    value = graph.constant(f"{node.name}_value", np.array(node.number("constant_value", 0), np.float32))
    graph.add("Pad", [sources[0], pads, value], node.name, rank, mode="constant")


def slice_channel(graph: Graph, node: Node, sources: list[str]) -> list[str]:
    count = int(node.number("num_outputs", 1))
    if node.flag("squeeze_axis", False) or not 1 <= count <= 64:
        raise node.error("only 1 to 64 unsqueezed parts are converted")
    parts = [f"{node.name}_part{index}" for index in range(count)]
    axis = int(node.number("axis", 1))
    graph.nodes.append(helper.make_node("Split", _inputs(node, sources, 1), parts, name=node.name, axis=axis))
    graph.ranks.update(dict.fromkeys(parts, graph.ranks[sources[0]]))
    return parts


EMITTERS: dict[str, Emitter] = {
    "Activation": _activation,
    "BatchNorm": _batch_norm,
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": _unary("Identity"),  # drops nothing outside training
    "Flatten": _flatten,
    "FullyConnected": _fully_connected,
    "LeakyReLU": _leaky_relu,
    "Pad": _pad,
    "Pooling": _pooling,
    "SoftmaxActivation": _softmax,
    "SoftmaxOutput": _softmax,
    "softmax": _softmax,
    "_copy": _unary("Identity"),
    "identity": _unary("Identity"),
    "BlockGrad": _unary("Identity"),
    "_Plus": _elementwise("Add"),
    "_plus": _elementwise("Add"),
    "elemwise_add": _elementwise("Add"),
    "broadcast_add": _elementwise("Add"),
    "_mul": _elementwise("Mul"),
    "elemwise_mul": _elementwise("Mul"),
    "broadcast_mul": _elementwise("Mul"),
    "_plus_scalar": _scalar("Add"),
    "_minus_scalar": _scalar("Sub"),
    "_rminus_scalar": _scalar("Sub", reverse=True),
    "_mul_scalar": _scalar("Mul"),
    "_div_scalar": _scalar("Div"),
}
