"""Writes a MobileFaceNet given as a TFLite file as an MXNet checkpoint in InsightFace's form.

Runs in a child process: TensorFlow reads the file, and its interpreter is the reference.
"""

from typing import Any

import numpy as np

from preprocess.engines import Array
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_network import Builder, Network
from preprocess.prepare.mxnet_symbol import Output

_SAME, _VALID = 0, 1
_PRELU = {"RELU", "ABS", "SUB", "MUL", "ADD"}


class _File:
    """The first subgraph of a TFLite file, with its constants as arrays."""

    def __init__(self, data: bytes) -> None:
        from tensorflow.lite.python import schema_py_generated as schema

        self.names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self.model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
        self.graph: Any = self.model.subgraphs[0]

    def op(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        name: str = self.names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        return name

    def constant(self, tensor: int) -> Array | None:
        entry = self.graph.tensors[tensor]
        buffer = self.model.buffers[entry.buffer].data
        return None if buffer is None else np.frombuffer(buffer.tobytes(), "<f4").reshape(entry.shape)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[tensor].shape)


def convert(data: bytes) -> Network:
    """Gives the network with input `data` float32[N,3,112,112] RGB 0..255 and output `fc1` float32[N,D].

    Raises PreparationError naming an operator it does not have.
    """
    file = _File(data)
    builder = Builder()
    scaled = builder.layer("_minus_scalar", "minus", [builder.input()], scalar=127.5)
    scaled = builder.layer("_mul_scalar", "scale", [scaled], scalar=0.0078125)
    made = {file.graph.inputs[0]: scaled}
    operators = list(file.graph.operators)
    kinds = [file.op(operator) for operator in operators]
    place = 0
    while place < len(operators):
        operator, kind, name = operators[place], kinds[place], f"layer{place}"
        output = operator.outputs[0]
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            if kinds[place + 1 :] == ["RESHAPE"]:  # the embedding: a 1x1 convolution of one pixel
                made[operators[-1].outputs[0]] = _embedding(builder, file, operator, made)
                break
            made[output] = _convolution(builder, file, operator, name, made)
        elif set(kinds[place : place + 5]) == _PRELU and kinds[place + 4] == "ADD":
            parts = dict(zip(kinds[place : place + 5], operators[place : place + 5], strict=True))
            made[operators[place + 4].outputs[0]] = _prelu(builder, file, parts, name, made)
            place += 4
        elif (
            kind == "ADD" and operator.builtinOptions.fusedActivationFunction == 0 and set(operator.inputs) <= set(made)
        ):
            made[output] = builder.layer("elemwise_add", name, [made[source] for source in operator.inputs])
        else:
            raise PreparationError(f"operator {kind} of the TFLite file cannot be converted")
        place += 1
    return builder.network(made[file.graph.outputs[0]])


def _convolution(builder: Builder, file: _File, operator: Any, name: str, made: dict[int, Output]) -> Output:
    source, weight_index, bias_index = operator.inputs
    options = operator.builtinOptions
    weight, bias = file.constant(weight_index), file.constant(bias_index)
    stride = options.strideH
    if weight is None or options.fusedActivationFunction != 0 or options.strideW != stride:
        raise PreparationError("a convolution of the TFLite file cannot be converted")
    depthwise = file.op(operator) == "DEPTHWISE_CONV_2D"
    weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
    data, pad, kernel = made[source], 0, weight.shape[2]
    if options.padding == _SAME:
        size = file.shape(source)[1]
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pad = missing // 2
        if missing % 2:  # TensorFlow puts the odd row and column at the bottom and on the right
            widths = (0, 0, 0, 0, pad, pad + 1, pad, pad + 1)
            data = builder.layer("Pad", f"{name}_pad", [data], mode="constant", pad_width=widths, constant_value=0)
            pad = 0
    groups = weight.shape[0] if depthwise else 1
    return builder.convolution(name, data, weight, bias, stride=stride, pad=pad, groups=groups)


def _prelu(builder: Builder, file: _File, parts: dict[str, Any], name: str, made: dict[int, Output]) -> Output:
    """relu(x) + slope * (x - |x|), with half of PReLU's slope, is how the file writes a PReLU."""
    source = parts["RELU"].inputs[0]
    outputs = {kind: operator.outputs[0] for kind, operator in parts.items()}
    constants = [file.constant(tensor) for tensor in parts["MUL"].inputs if tensor != outputs["SUB"]]
    if (
        list(parts["ABS"].inputs) != [source]
        or list(parts["SUB"].inputs) != [source, outputs["ABS"]]
        or set(parts["ADD"].inputs) != {outputs["RELU"], outputs["MUL"]}
        or len(constants) != 1
        or constants[0] is None
    ):
        raise PreparationError("an activation of the TFLite file is not the PReLU that was expected")
    return builder.prelu(name, made[source], 2 * constants[0].reshape(-1))


def _embedding(builder: Builder, file: _File, operator: Any, made: dict[int, Output]) -> Output:
    source, weight_index, bias_index = operator.inputs
    weight, bias = file.constant(weight_index), file.constant(bias_index)
    if weight is None or bias is None or file.shape(source)[1:3] != (1, 1):
        raise PreparationError("the TFLite file does not end in a 1x1 convolution of one pixel")
    return builder.dense("fc1", made[source], weight.reshape(len(weight), -1), bias)


def run(data: bytes, faces: Array) -> Array:
    """Runs the TFLite file itself on float32[N,3,112,112] RGB 0..255; gives float32[N,D]. N must be even."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    leave = interpreter.get_output_details()[0]["index"]
    rows = []
    for pair in faces.reshape(-1, 2, *faces.shape[1:]):  # the file's last reshape fixes the batch at two
        interpreter.set_tensor(entry, (pair.transpose(0, 2, 3, 1) - 127.5) / 128)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(leave))
    return np.concatenate(rows)
