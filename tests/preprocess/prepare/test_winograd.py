"""Winograd's form of a network computes what the network does, and is made only where it pays."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from preprocess.prepare import winograd
from preprocess.prepare.errors import PreparationError

RANDOM = np.random.default_rng(0)


def network(
    height: int,
    width: int,
    *,
    inputs: int = 64,
    outputs: int = 64,
    bias: bool = True,
    opset: int = 13,
    **attributes: Any,
) -> onnx.ModelProto:
    """One convolution of float32[N, inputs, height, width], of 3x3 unless `kernel` says otherwise, and a ReLU."""
    kernel = attributes.pop("kernel", 3)
    shape = (outputs, inputs // attributes.get("group", 1), kernel, kernel)
    weights = {"weight": RANDOM.normal(0, 1 / (kernel * np.sqrt(inputs)), shape), "bias": RANDOM.normal(size=outputs)}
    taken = list(weights) if bias else ["weight"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", *taken], ["convolved"], **attributes),
            helper.make_node("Relu", ["convolved"], ["y"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inputs, height or "H", width or "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs, "h", "w"])],
        [numpy_helper.from_array(weights[name].astype(np.float32), name) for name in taken],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())


def groups(model: onnx.ModelProto) -> list[int]:
    """Of each convolution: as many as a tile has places where it is in Winograd's form."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return [next((item.i for item in node.attribute if item.name == "group"), 1) for node in convolutions]


def answer(model: onnx.ModelProto, shown: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": shown})[0])


@pytest.mark.parametrize("tile", winograd.TILES)
def test_the_transforms_give_the_outputs_of_a_filter_of_three(tile: int) -> None:
    data, kernel, output = winograd.transforms(tile)
    signal, filters = RANDOM.normal(size=tile + 2), RANDOM.normal(size=3)
    expected = np.correlate(signal, filters, "valid")
    np.testing.assert_allclose(output @ ((kernel @ filters) * (data @ signal)), expected, atol=1e-12)


@pytest.mark.parametrize("tile", winograd.TILES)
@pytest.mark.parametrize("size", [(8, 8), (5, 14), (17, 11), (3, 4)], ids=str)
@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 0, 0, 0], [2, 0, 1, 1]], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_pictures_of_any_size_and_frame_are_convolved_alike(
    tile: int, size: tuple[int, int], pads: list[int], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "TILES", (tile,))
    monkeypatch.setattr(winograd, "WORTH", np.inf)
    model = network(*size, inputs=24, outputs=40, bias=bias, pads=pads)
    made = winograd.rewritten(copy(model))
    onnx.checker.check_model(made)
    assert groups(made) == [(tile + 2) ** 2]
    for faces in (1, 3):
        shown = RANDOM.normal(size=(faces, 24, *size)).astype(np.float32)
        np.testing.assert_allclose(answer(made, shown), answer(model, shown), atol=3e-5)


@pytest.mark.parametrize(("side", "channels", "tile"), [(56, 64, 4), (28, 128, 4), (14, 256, 2), (7, 512, 0)])
def test_of_the_layers_of_resnet_100_the_large_have_large_tiles_and_the_last_none(
    side: int, channels: int, tile: int
) -> None:
    made = winograd.rewritten(network(side, side, inputs=channels, outputs=channels, pads=[1, 1, 1, 1]))
    assert groups(made) == [(tile + 2) ** 2 if tile else 1]


def test_a_face_does_not_touch_its_neighbour_in_the_batch() -> None:
    made = winograd.rewritten(network(28, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1]))
    shown = RANDOM.normal(size=(2, 128, 28, 28)).astype(np.float32)
    other = np.stack([shown[0], np.full_like(shown[1], 1e6)])
    np.testing.assert_array_equal(answer(made, other)[0], answer(made, shown)[0])


@pytest.mark.parametrize(
    "kept",
    [
        network(28, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1], strides=[2, 2]),
        network(28, 28, inputs=128, outputs=128, pads=[2, 2, 2, 2], dilations=[2, 2]),
        network(28, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1], group=2),
        network(28, 28, inputs=128, outputs=128, kernel=5),
        network(28, 28, inputs=128, outputs=128, auto_pad="SAME_UPPER"),
        network(0, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1]),
        network(28, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1], opset=9),
        network(56, 56, inputs=3, outputs=64, pads=[1, 1, 1, 1]),
    ],
    ids=["stride", "dilation", "groups", "5x5", "auto_pad", "free height", "old opset", "few channels"],
)
def test_what_cannot_be_said_so_or_would_not_pay_stays(kept: onnx.ModelProto) -> None:
    before = kept.SerializeToString()
    assert winograd.rewritten(kept).SerializeToString() == before


def test_weights_that_a_kept_convolution_shares_stay_in_the_file() -> None:
    model = network(28, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1])
    model.graph.node[1].CopyFrom(helper.make_node("Conv", ["convolved", "weight", "bias"], ["y"], strides=[2, 2]))
    shown = RANDOM.normal(size=(1, 128, 28, 28)).astype(np.float32)
    expected = answer(model, shown)
    made = winograd.rewritten(model)
    assert {"weight", "bias"} < {tensor.name for tensor in made.graph.initializer}
    np.testing.assert_allclose(answer(made, shown), expected, atol=3e-5)


def test_a_form_that_strays_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(28, 28, inputs=128, outputs=128, pads=[1, 1, 1, 1])
    model.graph.node.append(helper.make_node("GlobalAveragePool", ["y"], ["pooled"]))
    model.graph.node.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    model.graph.output[0].name = "embedding"
    onnx.save(model, tmp_path / "model.onnx")
    faces = RANDOM.normal(size=(2, 128, 28, 28)).astype(np.float32)
    assert winograd.write(tmp_path / "model.onnx", tmp_path / "written.onnx", faces) < 1e-6
    monkeypatch.setattr(winograd, "POINTS", (0.0, 1.0, -1.0, 0.5, 0.501))  # which loses most digits
    with pytest.raises(PreparationError, match="the form for CPUs differs from the network by"):
        winograd.write(tmp_path / "model.onnx", tmp_path / "written.onnx", faces)
