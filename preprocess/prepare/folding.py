"""Takes operators out of an ONNX network that its convolutions can do on the side."""

from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper


def fold_scales(model: onnx.ModelProto) -> None:
    """Moves each factor that multiplies nothing but a convolution's output into that convolution's weights.

    Inception-ResNet scales its residual branches so. ONNX Runtime then adds branch and shortcut within the
    convolution, in its own layout of memory: three passes over the memory less, and two rearrangements.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    convolutions = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    for node in [node for node in graph.node if node.op_type == "Mul"]:
        scaled = next((name for name in node.input if name in convolutions and uses[name] == 1), None)
        factor = next((name for name in node.input if name in weights), None)
        if scaled is None or factor is None:
            continue
        convolution, value = convolutions[scaled], numpy_helper.to_array(weights[factor])
        if value.size != 1 or any(name not in weights or uses[name] > 1 for name in convolution.input[1:]):
            continue
        for name in convolution.input[1:]:
            numbers = numpy_helper.to_array(weights[name])
            weights[name].CopyFrom(numpy_helper.from_array(np.asarray(numbers * value.item(), numbers.dtype), name))
        convolution.output[0] = node.output[0]
        graph.node.remove(node)
        uses[factor] -= 1
        if not uses[factor]:
            graph.initializer.remove(weights[factor])
