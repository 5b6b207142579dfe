"""Brings a frozen TensorFlow graph to FaceNet's canonical form.

Canonical: `input:0` float32[-1,S,S,3], `embeddings:0` float32[-1,D] of unit length, no `phase_train`, no operator
that touches anything but its inputs. The functions take and give `tf.compat.v1.GraphDef`; those that need
TensorFlow import it, so call them in a child process.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from preprocess.prepare.errors import PreparationError

MAX_NUMBERS = 2**29
"""Most numbers that a graph's constants may hold together (2 GB, which a GraphDef cannot exceed anyway)."""

_PURE = frozenset(
    """Abs Add AddN AddV2 AvgPool BatchMatMul BatchMatMulV2 BiasAdd Cast Concat ConcatV2 Const Conv2D
    DepthwiseConv2dNative Div Elu Erf Exp ExpandDims Fill Floor FloorDiv FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Identity IdentityN LeakyRelu Log MatMul Max MaxPool Maximum Mean Minimum MirrorPad Mul Neg Pack
    Pad PadV2 Placeholder Pow Prod RealDiv Relu Relu6 Reshape Rsqrt Selu Shape Sigmoid Slice Softmax Softplus
    Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tanh Tile Transpose
    ZerosLike""".split()
)

Graph = Any
"""A `tf.compat.v1.GraphDef`; TensorFlow has no types."""


def folded(graph: Graph, output: str, fed: str, flag: str = "phase_train") -> Graph:
    """Gives the part of `graph` between the nodes `fed` and `output` with the boolean placeholder `flag` as False.

    `tf.cond` of TensorFlow 1 is Switch and Merge nodes: with the flag known, each Merge has one live input.
    Control edges only order side effects and are dropped once they have told dead branches from live ones.
    """
    nodes = {node.name: node for node in graph.node}
    for name in (fed, output):
        if name not in nodes:
            raise PreparationError(f"the graph has no node named {name!r}")
    dead: set[tuple[str, int]] = set()
    same: dict[tuple[str, int], tuple[str, int]] = {}  # outputs that are another tensor under a new name
    false: set[tuple[str, int]] = {(flag, 0)}

    def resolved(tensor: tuple[str, int]) -> tuple[str, int]:
        while tensor in same:
            tensor = same[tensor]
        return tensor

    kept: list[Any] = []
    for node in _sorted(nodes, output, stop={fed, flag}):
        if node.name in (fed, flag):
            continue
        inputs = [resolved(_tensor(source)) for source in node.input if not source.startswith("^")]
        control = [(source[1:], 0) for source in node.input if source.startswith("^")]
        controls = [tensor for tensor in map(resolved, control)]
        first = (node.name, 0)
        if node.op in ("Merge", "RefMerge"):
            live = [tensor for tensor in inputs if tensor not in dead]
            if len(live) != 1:
                raise PreparationError(f"the branches at {node.name!r} do not depend on {flag!r} alone")
            same[first] = live[0]
            continue
        if any(tensor in dead for tensor in inputs) or any(tensor in dead for tensor in controls):
            dead |= {(node.name, index) for index in range(8)}
        elif node.op in ("Switch", "RefSwitch"):
            if inputs[1] not in false:
                raise PreparationError(f"the switch {node.name!r} does not depend on {flag!r}")
            same[first] = inputs[0]
            dead.add((node.name, 1))
        elif node.op == "Identity" and inputs[0] in false:
            same[first] = inputs[0]
        else:
            copy = type(node)()
            copy.CopyFrom(node)
            del copy.input[:]
            copy.input.extend(name if index == 0 else f"{name}:{index}" for name, index in inputs)
            kept.append(copy)
    if resolved((output, 0)) in dead:
        raise PreparationError(f"{output!r} is only computed when {flag!r} is True")
    result = type(graph)()
    result.versions.CopyFrom(graph.versions)
    result.node.append(nodes[fed])
    result.node.extend(kept)
    if resolved((output, 0)) != (output, 0):
        name, index = resolved((output, 0))
        final = result.node.add(op="Identity", name=output, input=[f"{name}:{index}"])
        final.attr["T"].type = 1
    return _reachable(result, output)


def _tensor(text: str) -> tuple[str, int]:
    name, _, index = text.partition(":")
    return name, int(index or 0)


def _sorted(nodes: dict[str, Any], output: str, stop: set[str]) -> Iterable[Any]:
    """Gives the nodes that `output` needs, each after its inputs, not looking behind those in `stop`."""
    state: dict[str, int] = {}
    stack = [(output, False)]
    while stack:
        name, done = stack.pop()
        if done:
            state[name] = 2
            yield nodes[name]
            continue
        if state.get(name) == 1:
            raise PreparationError(f"the graph runs in a circle at {name!r}")
        if name in state:
            continue
        if name not in nodes:
            raise PreparationError(f"the graph lacks the node {name!r}")
        state[name] = 1
        stack.append((name, True))
        if name not in stop:
            sources = {_tensor(source.lstrip("^"))[0] for source in nodes[name].input}
            stack.extend((source, False) for source in sorted(sources) if state.get(source) != 2)
    return


def _reachable(graph: Graph, output: str) -> Graph:
    nodes = {node.name: node for node in graph.node}
    seen, queue = {output}, deque([output])
    while queue:
        for source in nodes[queue.popleft()].input:
            if (name := _tensor(source)[0]) not in seen:
                seen.add(name)
                queue.append(name)
    result = type(graph)()
    result.versions.CopyFrom(graph.versions)
    result.node.extend(node for node in graph.node if node.name in seen)
    return result


def check_pure(graph: Graph) -> None:
    """Raises PreparationError if the graph could do more than compute, or claims constants of absurd size."""
    foreign = sorted({node.op for node in graph.node} - _PURE)
    if foreign:
        raise PreparationError(f"the graph uses operators that are not accepted: {', '.join(foreign)}")
    numbers = 0
    for node in graph.node:
        if node.op == "Const":
            dimensions = [dimension.size for dimension in node.attr["value"].tensor.tensor_shape.dim]
            if any(size < 0 for size in dimensions):
                raise PreparationError(f"the constant {node.name!r} has a negative size")
            numbers += math.prod(dimensions)
    if numbers > MAX_NUMBERS:
        raise PreparationError(f"the graph's constants claim {numbers} numbers; {MAX_NUMBERS} at most are accepted")


def batched(graph: Graph, fed: str, size: int) -> Graph:
    """Gives the graph with `fed` as a placeholder float32[-1,size,size,3] and reshapes that keep the batch free."""
    import tensorflow as tf

    result = type(graph)()
    result.CopyFrom(graph)
    entry = next(node for node in result.node if node.name == fed)
    fixed = entry.attr["shape"].shape.dim[0].size if entry.op == "Placeholder" and entry.attr["shape"].shape.dim else -1
    entry.Clear()
    entry.name, entry.op = fed, "Placeholder"
    entry.attr["dtype"].type = tf.float32.as_datatype_enum
    entry.attr["shape"].shape.CopyFrom(tf.TensorShape([fixed if fixed > 0 else None, size, size, 3]).as_proto())
    if fixed > 0:
        with tf.Graph().as_default() as whole:
            tf.import_graph_def(result, name="")
        for node in list(result.node):
            shape = whole.get_operation_by_name(node.name).outputs[0].shape
            if node.op == "Reshape" and shape.rank and shape[0] == fixed and shape.is_fully_defined():
                constant = result.node.add(op="Const", name=f"{node.name}/any_batch")
                constant.attr["dtype"].type = tf.int32.as_datatype_enum
                constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([-1, *shape[1:]], tf.int32))
                node.input[1] = constant.name
                node.attr["Tshape"].type = tf.int32.as_datatype_enum
        entry.attr["shape"].shape.dim[0].size = -1
    return result
