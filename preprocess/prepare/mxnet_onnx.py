"""Converts an MXNet network (symbol and weights) to ONNX without MXNet."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from preprocess.engines import Array
from preprocess.onnx_graph import IR_VERSION, OPSET
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_operators import EMITTERS, Graph, slice_channel
from preprocess.prepare.mxnet_symbol import Symbol


def convert(symbol: Symbol, weights: Mapping[str, Array], inputs: Mapping[str, Sequence[int | str]]) -> onnx.ModelProto:
    """Gives the ONNX model of `symbol` with float32 inputs of the given shapes (a text is a free dimension).

    Outputs keep the names of the layers. `weights` goes by the names in the symbol, without `arg:` and `aux:`.
    Raises PreparationError naming an operator it does not have, or weights that are missing or misshapen.
    """
    graph = Graph(weights)
    names: dict[tuple[int, int], str] = {}
    lacking = sorted({node.op for node in symbol.nodes} - set(EMITTERS) - {"null", "SliceChannel"})
    if lacking:
        raise PreparationError(f"the network uses operators that cannot be converted: {', '.join(lacking)}")
    for place, node in enumerate(symbol.nodes):
        sources = [names[source] for source in node.inputs]
        names[place, 0] = node.name
        if node.op == "null":
            graph.ranks[node.name] = len(inputs[node.name]) if node.name in inputs else 1
        elif node.op == "SliceChannel":
            for index, part in enumerate(slice_channel(graph, node, sources)):
                names[place, index] = part
        else:
            EMITTERS[node.op](graph, node, sources)
    if any(head not in names for head in symbol.heads):
        raise PreparationError("the symbol file asks for an output that its layers do not have")
    return _model(graph, [names[head] for head in symbol.heads], inputs)


def _model(graph: Graph, outputs: Sequence[str], inputs: Mapping[str, Sequence[int | str]]) -> onnx.ModelProto:
    used = {name for node in graph.nodes for name in node.input}
    values = {name: array for name, array in graph.weights.items() if name in used and name not in inputs}
    values.update(graph.initializers)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in values.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="preprocess.prepare",
    )
    return checked(model)


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives the model with every shape worked out, or raises PreparationError if the shapes contradict."""
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise PreparationError(f"the network contradicts itself: {str(error)[:300]}") from None
    return model
