"""Factors behind convolutions vanish into their weights, and nothing else changes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from preprocess.prepare.folding import fold_scales

RANDOM = np.random.default_rng(0)
SHOWN = RANDOM.normal(size=(2, 3, 8, 8)).astype(np.float32)


def network(*, factor: np.ndarray, read_twice: bool = False, shared: bool = False) -> onnx.ModelProto:
    """relu(x + factor * convolution(x)), whose unscaled convolution may be read once more, or its weights shared."""
    weights = {
        "kernel": RANDOM.normal(size=(3, 3, 1, 1)).astype(np.float32),
        "bias": RANDOM.normal(size=3).astype(np.float32),
        "factor": factor.astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["branch"]),
        helper.make_node("Mul", ["factor", "branch"], ["scaled"]),
        helper.make_node("Add", ["x", "scaled"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["out"]),
    ]
    if shared:
        nodes.insert(3, helper.make_node("Conv", ["sum", "kernel", "bias"], ["again"]))
        nodes[-1].input[0] = "again"
    outputs = ["out", "branch"] if read_twice else ["out"]
    if read_twice:
        nodes.append(helper.make_node("Neg", ["branch"], ["negative"]))
        outputs[1] = "negative"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 8, 8]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": SHOWN})  # type: ignore[no-any-return]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("factor", [np.array(0.17), np.array([0.17]), np.full((1, 1, 1, 1), 0.17)])
def test_a_factor_goes_into_the_convolution_before_it(factor: np.ndarray) -> None:
    model = network(factor=factor)
    before = answers(model)
    fold_scales(model)
    onnx.checker.check_model(model)
    assert operators(model) == ["Conv", "Add", "Relu"]
    assert {tensor.name for tensor in model.graph.initializer} == {"kernel", "bias"}
    np.testing.assert_allclose(answers(model)[0], before[0], atol=1e-6)


@pytest.mark.parametrize(
    "kept",
    [
        {"factor": np.array([[[1.0]], [[2.0]], [[3.0]]])},
        {"factor": np.array(0.17), "read_twice": True},
        {"factor": np.array(0.17), "shared": True},
    ],
    ids=["a factor a channel", "an output read twice", "shared weights"],
)
def test_what_would_change_the_network_stays(kept: dict) -> None:
    model = network(**kept)
    before = model.SerializeToString()
    fold_scales(model)
    assert model.SerializeToString() == before
