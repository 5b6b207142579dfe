"""Puts a checkpoint's numbers into a TensorFlow graph as constants, without running the graph.

Which key of the checkpoint belongs to which variable is read from the graph's own restore part. Where that says
nothing it is the variable's name, as TensorFlow 1's saver has it, or the key that TensorFlow 2's list of saved
objects gives for that name. Runs in a child process: TensorFlow reads the files.
"""

from pathlib import Path
from typing import Any

from preprocess.prepare.errors import PreparationError
from preprocess.prepare.graphdef import Graph, tensor

_VARIABLES = ("VariableV2", "Variable", "VarHandleOp")


def keys(graph: Graph) -> dict[str, str]:
    """Gives the checkpoint's key of each variable that the graph's restore part assigns."""
    nodes = {node.name: node for node in graph.node}
    found = {}
    for node in graph.node:
        if node.op not in ("Assign", "AssignVariableOp"):
            continue
        variable, value = _source(nodes, node.input[0]), _source(nodes, node.input[1])
        if variable and value and variable[0].op in _VARIABLES and value[0].op == "RestoreV2":
            names = _source(nodes, value[0].input[1])
            texts = names[0].attr["value"].tensor.string_val if names else ()
            if value[1] < len(texts):
                found[variable[0].name] = texts[value[1]].decode(errors="replace")
    return found


def names(graph: Graph) -> list[str]:
    """Gives the names of the graph's variables."""
    return [node.name for node in graph.node if node.op in _VARIABLES]


def _source(nodes: dict[str, Any], text: str) -> tuple[Any, int] | None:
    """Follows Identity nodes back to the node that makes a tensor."""
    for _ in range(16):
        name, index = tensor(text)
        if name not in nodes:
            return None
        if nodes[name].op != "Identity" or not nodes[name].input:
            return nodes[name], index
        text = nodes[name].input[0]
    return None


def frozen(graph: Graph, prefix: Path, known: dict[str, str]) -> Graph:
    """Gives the graph with every variable as the constant that the checkpoint `prefix` holds for it."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        held = reader.get_variable_to_shape_map()
        known = {**_object_keys(reader, held), **{key: key for key in held}, **known}
        _freeze(graph, known, reader)
    except (tf.errors.OpError, RuntimeError, IndexError, ValueError) as error:  # as TensorFlow's reader has it
        reason = (str(error).splitlines() or ["unknown"])[0][:200]
        raise PreparationError(f"the checkpoint {prefix.name} is damaged: {reason}") from None
    return graph


def _freeze(graph: Graph, known: dict[str, str], reader: Any) -> None:
    import tensorflow as tf

    for node in graph.node:
        if node.op == "ReadVariableOp":
            kind = node.attr["dtype"].type
            node.op = "Identity"
            node.ClearField("attr")
            node.attr["T"].type = kind
        elif node.op in _VARIABLES:
            if node.name not in known:
                raise PreparationError(f"the checkpoint holds no variable {node.name!r}")
            value = reader.get_tensor(known[node.name])
            node.op = "Const"
            node.ClearField("attr")
            node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def _object_keys(reader: Any, held: dict[str, Any]) -> dict[str, str]:
    """Gives the key of each variable by its full name, as far as the name says which one is meant."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    if "_CHECKPOINTABLE_OBJECT_GRAPH" not in held:
        return {}
    written = reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    objects = trackable_object_graph_pb2.TrackableObjectGraph.FromString(written)
    saved = [attribute for entry in objects.nodes for attribute in entry.attributes]
    names = [attribute.full_name for attribute in saved]
    return {one.full_name: one.checkpoint_key for one in saved if names.count(one.full_name) == 1}
