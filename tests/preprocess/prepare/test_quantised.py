"""The int8 form of a small network whose channels are as unequal as those of a real one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from preprocess.engines import load_embedder
from preprocess.prepare import precision, quantised

FACES = np.random.default_rng(8).normal(size=(40, 3, 16, 16)).astype(np.float32)
CHANNELS = 16


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, PReLU, depthwise convolution, ReLU, convolution, dense; channels from a hundredth to a hundred."""
    random = np.random.default_rng(9)
    loud = np.logspace(-2, 2, CHANNELS).astype(np.float32)[:, None, None, None]
    arrays = {
        "first": loud * random.normal(size=(CHANNELS, 3, 3, 3)),
        "first_bias": loud[:, 0, 0, 0] * random.normal(size=CHANNELS),
        "slope": random.uniform(0.1, 0.4, size=(CHANNELS, 1, 1)),
        "alone": random.normal(size=(CHANNELS, 1, 3, 3)) / loud,
        "alone_bias": random.normal(size=CHANNELS),
        "last": random.normal(size=(CHANNELS, CHANNELS, 1, 1)),
        "dense": random.normal(size=(24, CHANNELS)),
    }
    nodes = [
        helper.make_node("Conv", ["data", "first", "first_bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Conv", ["b", "alone", "alone_bias"], ["c"], group=CHANNELS, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "last"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "dense"], ["fc1"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("fc1", onnx.TensorProto.FLOAT, ["N", 24])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def form(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("form") / "model.int8.onnx"
    quantised.write(network, FACES[:30], path)
    return path


def test_the_int8_form_agrees_with_the_network_on_faces_it_has_not_seen(network: Path, form: Path) -> None:
    drift = precision.drift_of(network, form, FACES[30:])
    assert 0.999 < drift.worst <= drift.mean < 1


def test_convolutions_compute_in_int8_but_for_depthwise_ones_and_the_last_layer(form: Path) -> None:
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(form).graph.initializer}
    assert [name for name, kind in kinds.items() if kind == onnx.TensorProto.INT8 and "zero_point" not in name] == [
        "first_quantized",
        "last_quantized",
    ]
    assert kinds["alone"] == kinds["dense"] == onnx.TensorProto.FLOAT


def test_weights_are_small_enough_for_processors_without_vnni(form: Path) -> None:
    kernels = [numpy_helper.to_array(tensor) for tensor in onnx.load(form).graph.initializer if tensor.data_type == 3]
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels if kernel.size > CHANNELS) <= 64


def test_it_takes_any_batch(form: Path) -> None:
    run = load_embedder("onnxruntime", form.parent, 2, precision="int8")
    together = run(FACES[:5])
    np.testing.assert_allclose(np.concatenate([run(face[None]) for face in FACES[:5]]), together, rtol=1e-4, atol=1e-4)


def test_the_same_faces_give_the_same_file(network: Path, form: Path, tmp_path: Path) -> None:
    quantised.write(network, FACES[:30], tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == form.read_bytes()


def test_equalising_changes_the_weights_and_not_the_embeddings(network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    quantised.equalise(model, FACES[:30])
    onnx.save(model, tmp_path / "equal.onnx")
    assert precision.drift_of(network, tmp_path / "equal.onnx", FACES).worst > 0.999999
    first = numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == "first"))
    assert np.ptp(np.log10(np.abs(first).max(axis=(1, 2, 3)))) < 2  # it was four


def test_without_equalising_quiet_channels_are_lost(
    network: Path, form: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "equalise", lambda model, faces: None)
    quantised.write(network, FACES[:30], tmp_path / "plain.onnx")
    plain = precision.drift_of(network, tmp_path / "plain.onnx", FACES[30:])
    assert 1 - plain.worst > 3 * (1 - precision.drift_of(network, form, FACES[30:]).worst)


def test_what_something_else_sees_as_well_is_left_alone(network: Path) -> None:
    model = onnx.load(network)
    model.graph.output.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None))
    before = {tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer}
    quantised.equalise(model, FACES[:2])
    after = {tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer}
    assert {name for name in before if before[name] != after[name]} == {"alone", "alone_bias", "last"}
