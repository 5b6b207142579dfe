"""Cuts a TensorFlow graph down to a function from pictures to embeddings, without running any of it.

`Graph` is a `tf.compat.v1.GraphDef`, which is a protobuf message: nothing here imports TensorFlow.
"""

import math
from collections.abc import Iterator
from typing import Any

from preprocess.prepare.errors import PreparationError

MAX_NUMBERS = 2**29
"""Most numbers that a graph's constants may hold together: 2 GB, which a GraphDef cannot exceed anyway."""

_PURE = frozenset(
    """Abs Add AddN AddV2 AvgPool BatchMatMul BatchMatMulV2 BiasAdd Cast Concat ConcatV2 Const Conv2D
    DepthwiseConv2dNative Div Elu Erf Exp ExpandDims Fill Floor FloorDiv FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Identity IdentityN LeakyRelu Log MatMul Max MaxPool Maximum Mean Minimum MirrorPad Mul Neg Pack
    Pad PadV2 Placeholder Pow Prod RealDiv Relu Relu6 Reshape Rsqrt Selu Shape Sigmoid Slice Softmax Softplus
    Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tanh Tile Transpose
    ZerosLike""".split()
)
"""Operators that compute something from their inputs and do nothing else: no file, no network, no state."""

_BOOL = 10  # DT_BOOL in TensorFlow's types.proto

Graph = Any
Tensor = tuple[str, int]
"""A node's name and which of its outputs."""


def tensor(text: str) -> Tensor:
    """Reads a tensor's name as a GraphDef writes it: `conv`, `switch:1` or, for a control edge, `^conv`."""
    name, _, index = text.removeprefix("^").partition(":")
    return name, int(index) if index.isdigit() else 0


def flags(graph: Graph) -> list[str]:
    """Gives the boolean placeholders: `phase_train`, or what Keras calls its learning phase."""
    kinds = ("Placeholder", "PlaceholderWithDefault")
    return [node.name for node in graph.node if node.op in kinds and node.attr["dtype"].type == _BOOL]


def evaluating(graph: Graph, fed: str, output: Tensor) -> tuple[Graph, Tensor]:
    """Gives the part of `graph` between the node `fed` and `output` outside training, and the output's new name.

    Boolean placeholders count as False. `tf.cond` of TensorFlow 1 is Switch and Merge nodes: with its condition
    known, a Switch passes its data on to one side, the other side is dead, and a Merge has one live input.
    Control edges only order side effects: they are dropped once they have told dead branches from live ones.
    Raises PreparationError if the graph is broken or a branch depends on anything else.
    """
    nodes = {node.name: node for node in graph.node}
    for name in (fed, output[0]):
        if name not in nodes:
            raise PreparationError(f"the graph has no node named {name!r}")
    false = {(name, 0) for name in flags(graph)}
    dead: set[str] = set()
    dead_outputs: set[Tensor] = set()
    same: dict[Tensor, Tensor] = {}  # outputs that are another tensor under a new name

    def resolved(source: Tensor) -> Tensor:
        return same.get(source, source)

    def is_dead(source: Tensor) -> bool:
        return source[0] in dead or source in dead_outputs

    result = type(graph)()
    result.versions.CopyFrom(graph.versions)
    for node in _ordered(nodes, output[0], stop={fed} | {name for name, _ in false}):
        inputs = [resolved(tensor(source)) for source in node.input if not source.startswith("^")]
        control = [resolved(tensor(source)) for source in node.input if source.startswith("^")]
        if node.name == fed:
            entry = result.node.add(op="Placeholder", name=fed)
            entry.attr["dtype"].CopyFrom(node.attr["dtype"] if node.op == "Placeholder" else node.attr["T"])
            shapes = node.attr["_output_shapes"].list.shape
            entry.attr["shape"].shape.CopyFrom(shapes[0] if shapes else node.attr["shape"].shape)
        elif (node.name, 0) in false:
            constant = result.node.add(op="Const", name=node.name)
            constant.attr["dtype"].type = constant.attr["value"].tensor.dtype = _BOOL
            constant.attr["value"].tensor.bool_val.append(False)
        elif node.op in ("Merge", "RefMerge"):
            live = [source for source in inputs if not is_dead(source)]
            if len(live) > 1:
                raise PreparationError(f"the branches that meet at {node.name!r} depend on more than {flags(graph)}")
            if live:
                same[node.name, 0] = live[0]
            else:
                dead.add(node.name)
        elif any(map(is_dead, inputs)) or any(map(is_dead, control)):
            dead.add(node.name)
        elif node.op in ("Switch", "RefSwitch"):
            if len(inputs) != 2 or inputs[1] not in false:
                raise PreparationError(f"the branch at {node.name!r} depends on more than {flags(graph)}")
            same[node.name, 0] = inputs[0]
            dead_outputs.add((node.name, 1))
        elif node.op == "Identity" and len(inputs) == 1:
            same[node.name, 0] = inputs[0]
        else:
            copy = result.node.add(op=node.op, name=node.name)
            copy.input.extend(name if index == 0 else f"{name}:{index}" for name, index in inputs)
            for key, value in node.attr.items():
                if not key.startswith("_"):  # hints to schedulers, and colocation with nodes that are gone
                    copy.attr[key].CopyFrom(value)
    if is_dead(resolved(output)):
        raise PreparationError(f"{output[0]!r} is only computed in training")
    return _reaching(result, resolved(output)[0], fed), resolved(output)


def _ordered(nodes: dict[str, Any], output: str, stop: set[str]) -> Iterator[Any]:
    """Gives the nodes that `output` needs, each after its inputs, not looking behind those in `stop`."""
    begun: set[str] = set()
    done: set[str] = set()
    stack = [output]
    while stack:
        name = stack[-1]
        if name not in nodes:
            raise PreparationError(f"the graph lacks the node {name!r}")
        sources = set() if name in stop else {tensor(source)[0] for source in nodes[name].input}
        waiting = sorted(sources - done)
        if name in done or not waiting:
            stack.pop()
            if name not in done:
                done.add(name)
                yield nodes[name]
        elif name in begun:
            raise PreparationError(f"the graph runs in a circle at {name!r}")
        else:
            begun.add(name)
            stack.extend(waiting)


def _reaching(graph: Graph, output: str, fed: str) -> Graph:
    nodes = {node.name: node for node in graph.node}
    kept = {node.name for node in _ordered(nodes, output, stop={fed})}
    if fed not in kept:
        raise PreparationError(f"{output!r} does not depend on {fed!r}")
    for node in [node for node in graph.node if node.name not in kept]:
        graph.node.remove(node)
    return graph


def check_pure(graph: Graph) -> None:
    """Raises PreparationError if the graph could do more than compute, or claims constants of absurd size."""
    foreign = sorted({node.op for node in graph.node} - _PURE)
    if foreign:
        raise PreparationError(f"the graph uses operators that are not accepted: {', '.join(foreign)}")
    numbers = 0
    for node in graph.node:
        if node.op != "Const":  # asking a protobuf map for a key would put it there
            continue
        sizes = [dimension.size for dimension in node.attr["value"].tensor.tensor_shape.dim]
        if any(size < 0 for size in sizes):
            raise PreparationError(f"the constant {node.name!r} has a negative size")
        numbers += math.prod(sizes)
    if numbers > MAX_NUMBERS:
        raise PreparationError(f"the graph's constants claim {numbers} numbers; {MAX_NUMBERS} at most are accepted")


def the_input(graph: Graph) -> str:
    """Gives the node that takes the pictures: `input`, or else the only float placeholder."""
    names: list[str] = [node.name for node in graph.node if node.op == "Placeholder" and node.attr["dtype"].type == 1]
    if any(node.name == "input" for node in graph.node):
        return "input"
    if len(names) != 1:
        raise PreparationError(
            f"the graph has no node 'input' and {len(names)} float placeholders: which takes pictures?"
        )
    return names[0]


def the_output(graph: Graph) -> Tensor:
    """Gives the tensor that holds the embeddings: `embeddings`, or else that of the only node nobody uses."""
    used = {tensor(source)[0] for node in graph.node for source in node.input}
    ends = [node.name for node in graph.node if node.name not in used and node.op not in ("Const", "NoOp", "Assert")]
    if any(node.name == "embeddings" for node in graph.node):
        return "embeddings", 0
    if len(ends) != 1:
        raise PreparationError(f"the graph has no node 'embeddings' and {len(ends)} ends: which gives the embeddings?")
    return ends[0], 0
