"""An ONNX graph, written one operation at a time."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Numbers = NDArray[Any]

OPSET, IR_VERSION = 13, 8


class Graph:
    """Nodes and constants; each method adds one operation and gives the name of its output.

    Names begin with `prefix`. An input that is an array becomes a constant, of int64 or else of float32.
    """

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = prefix

    def add(self, kind: str, *inputs: str | Numbers, name: str = "", **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = name or f"{self._prefix}t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    def convolution(self, tensor: str, weight: Numbers, bias: Numbers | None = None, **attributes: Any) -> str:
        constants = [weight] if bias is None else [weight, bias]
        return self.add("Conv", tensor, *constants, kernel_shape=list(weight.shape[2:]), **attributes)

    def prelu(self, tensor: str, slope: Numbers) -> str:
        return self.add("Add", self.scaled(self.add("Relu", tensor), 1 - slope), self.scaled(tensor, slope))

    def scaled(self, tensor: str, factor: Numbers) -> str:
        return self.convolution(tensor, factor.reshape(-1, 1, 1, 1), group=len(factor))

    def pool(self, tensor: str, side: int) -> str:
        return self.add("MaxPool", tensor, kernel_shape=[side, side], strides=[2, 2], ceil_mode=1)

    def split(self, tensor: str, *counts: int) -> list[str]:
        """Parts of so many channels, from the first on."""
        ends = np.cumsum([0, *counts])
        return [
            self.add("Slice", tensor, ends[at : at + 1], ends[at + 1 : at + 2], np.array([1]))
            for at in range(len(counts))
        ]

    def reshape(self, tensor: str, *shape: int) -> str:
        return self.add("Reshape", tensor, np.array(shape, np.int64))

    def model(self, inputs: dict[str, tuple[TensorProto.DataType, list[int | str]]]) -> onnx.ModelProto:
        taken = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
        given = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "network", taken, [given], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model

    def _constant(self, value: Numbers) -> str:
        name = f"{self._prefix}c{len(self.constants)}"
        value = value if value.dtype == np.int64 else np.ascontiguousarray(value, np.float32)
        self.constants.append(numpy_helper.from_array(value, name))
        return name
