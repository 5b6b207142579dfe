"""Reads an ONNX file that somebody else made and brings it to the form that is served.

Only a self-contained network of standard operators with one picture in and one embedding out is taken: no data
outside the file, no operators of other domains, no branches, loops or functions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, compose, helper, numpy_helper

from preprocess.engines import Array
from preprocess.onnx_graph import IR_VERSION
from preprocess.prepare import mxnet_onnx, native
from preprocess.prepare.errors import PreparationError

PREFIX = "network/"


def read(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file; raises PreparationError with the reason if it is damaged or not accepted."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise PreparationError(f"{path.name} is damaged, or no ONNX model: {reason}") from None
    if foreign := {node.domain for node in model.graph.node} - {"", "ai.onnx"}:
        raise PreparationError(f"the network uses operators of {', '.join(map(repr, sorted(foreign)))}")
    if model.functions:
        raise PreparationError("the network defines functions of its own, which are not accepted")
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise PreparationError(f"the weights {tensor.name!r} lie outside the file; save the model as one file")
    for node in model.graph.node:
        kinds = {attribute.type for attribute in node.attribute}
        if kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
            raise PreparationError(f"the network branches or loops ({node.op_type}), which is not accepted")
        values = [attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR]
        if any(value.data_location == TensorProto.EXTERNAL for value in values):
            raise PreparationError(f"a constant of {node.name!r} lies outside the file")
    return model


def picture_input(model: onnx.ModelProto) -> tuple[str, bool, int]:
    """Gives the name of the network's input, whether colours come before rows, and the pictures' side or 0."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise PreparationError("the network does not take one float32 input")
    shape = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim]
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise PreparationError(f"the network takes {shape}, not RGB pictures [N,3,S,S] or [N,S,S,3]")
    channels_first = shape[1] == 3
    height, width = shape[2:] if channels_first else shape[1:3]
    if height != width:
        raise PreparationError(f"the network takes pictures of {height}x{width}; only square ones are served")
    return inputs[0].name, channels_first, height


def embedding_output(model: onnx.ModelProto, name: str) -> str:
    """Gives the name of the network's output: its only one, or of several the one called `name`."""
    outputs: list[str] = [value.name for value in model.graph.output]
    if len(outputs) == 1:
        return outputs[0]
    if name in outputs:
        return name
    raise PreparationError(f"the network has {len(outputs)} outputs and none is called {name!r}")


def scales_inside(model: onnx.ModelProto, entry: str) -> bool:
    """Tells whether the network itself turns 0..255 into about -1..1, as InsightFace decides it.

    It does if its first operators subtract and then multiply or divide; networks from MXNet do, later ones
    expect (x - 127.5) / 127.5 (InsightFace's arcface_onnx.py looks at the first eight nodes the same way).
    """
    seen, tensor = [], entry
    for node in model.graph.node[:8]:
        if tensor in node.input:
            seen.append(node.op_type)
            tensor = node.output[0]
    return "Sub" in seen and ("Mul" in seen or "Div" in seen)


def wrapped(
    model: onnx.ModelProto,
    names: tuple[str, str],
    shape: Sequence[int | str],
    *,
    output: str,
    transpose: Sequence[int] = (),
    scale: tuple[float, float] | None = None,
    unit: bool = False,
) -> onnx.ModelProto:
    """Gives the network behind our own input and before our own output, both by `names`, for any batch.

    `shape` is our input's; `transpose` puts its axes as the network wants them; `scale` is what is subtracted
    from it and what it is then divided by; `unit` brings each row of the output to length one.
    """
    entry, _, _ = picture_input(model)
    network = compose.add_prefix(model, PREFIX)
    graph = network.graph
    network.ir_version = max(network.ir_version, IR_VERSION)  # older ones list weights as inputs
    _free_batch(graph)
    before, data = [], names[0]
    if scale:
        for op, value in zip(("Sub", "Div"), scale, strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"our_{op}_by"))
            before.append(helper.make_node(op, [data, f"our_{op}_by"], [f"our_{op}"]))
            data = f"our_{op}"
    if transpose:
        before.append(helper.make_node("Transpose", [data], ["our_Transpose"], perm=list(transpose)))
        data = "our_Transpose"
    for node in graph.node:
        node.input[:] = [data if source == PREFIX + entry else source for source in node.input]
    after = helper.make_node("LpNormalization" if unit else "Identity", [PREFIX + output], [names[1]])
    if unit:
        after.attribute.extend([helper.make_attribute("axis", 1), helper.make_attribute("p", 2)])
    nodes = [*before, *graph.node, after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape))
    graph.output.append(helper.make_tensor_value_info(names[1], TensorProto.FLOAT, None))
    return mxnet_onnx.checked(network)


def _free_batch(graph: onnx.GraphProto) -> None:
    """Lets any number of faces pass reshapes that were written for one: a 0 in ONNX keeps the input's number.

    Reshapes of weights stay. A shape may be used for both, so what is changed is a copy.
    """
    weights = _computed_from_weights(graph)
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    shapes |= {node.output[0]: attribute.t for node in graph.node for attribute in node.attribute[:1]}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[0] in weights or node.input[1] not in shapes:
            continue
        tensor = shapes[node.input[1]]
        shape = numpy_helper.to_array(tensor).copy() if tensor.data_type == TensorProto.INT64 else np.empty(0)
        if len(shape) > 1 and shape[0] == 1:
            shape[0] = 0
            node.input[1] = f"{node.output[0]}/any_batch"
            graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))


def _computed_from_weights(graph: onnx.GraphProto) -> set[str]:
    """Gives the tensors that are the same for every picture; nodes come after their inputs, as ONNX demands."""
    weights = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if weights.issuperset(name for name in node.input if name):  # '' stands for an input left out
            weights.update(node.output)
    return weights


def difference(source: Path, output: str, target: Path, faces: Array, shown: Array) -> tuple[int, float]:
    """Runs the file that came (on `shown`, one by one) and the one that is served (on `faces`, together).

    Gives the embedding's size and the largest difference.
    """
    made = native.onnxruntime(target, faces)[0]
    if made.ndim != 2 or len(made) != len(faces) or not np.isfinite(made).all():
        raise PreparationError(f"the network gives {list(made.shape)} for {len(faces)} faces, or not finite numbers")
    alone = np.concatenate([native.onnxruntime(source, face[None], output)[0] for face in shown])
    return made.shape[1], native.largest_difference(alone, made)
