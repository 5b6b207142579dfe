"""ONNX files that somebody else made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from preprocess.prepare import onnx_file
from preprocess.prepare.errors import PreparationError

Change = Callable[[onnx.ModelProto], None]


def model(shape: tuple[int | str, ...] = ("N", 3, 112, 112)) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.ones((3, 4), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def read(one: onnx.ModelProto, tmp_path: Path) -> onnx.ModelProto:
    path = tmp_path / "model.onnx"
    path.write_bytes(one.SerializeToString())
    return onnx_file.read(path)


def outside(one: onnx.ModelProto) -> None:
    tensor = one.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def branching(one: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [])
    one.graph.node.append(helper.make_node("If", ["w"], ["z"], then_branch=branch, else_branch=branch))


def foreign(one: onnx.ModelProto) -> None:
    one.opset_import.append(helper.make_opsetid("com.example", 1))
    one.graph.node[0].domain = "com.example"


def test_operators_that_are_declared_and_not_used_do_no_harm(tmp_path: Path) -> None:
    one = model()
    one.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))  # as tf2onnx writes it
    assert read(one, tmp_path).graph.node[0].op_type == "GlobalAveragePool"


def looped(one: onnx.ModelProto) -> None:
    one.graph.node[0].input[0] = "y"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(outside, "lie outside the file|damaged", id="weights elsewhere"),
        pytest.param(branching, "branches or loops|damaged", id="a branch"),
        pytest.param(foreign, "operators of 'com.example'", id="foreign operators"),
        pytest.param(looped, "is damaged, or no ONNX model", id="a circle"),
    ],
)
def test_a_file_that_is_not_a_plain_network_is_refused(change: Change, reason: str, tmp_path: Path) -> None:
    one = model()
    change(one)
    with pytest.raises(PreparationError, match=reason):
        read(one, tmp_path)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        (("N", 3, 112, 112), (True, 112)),
        (("N", 112, 112, 3), (False, 112)),
        ((1, 3, "h", "w"), (True, 0)),
    ],
)
def test_size_and_layout_come_from_the_file(
    shape: tuple[int | str, ...], found: tuple[bool, int], tmp_path: Path
) -> None:
    assert onnx_file.picture_input(read(model(shape), tmp_path)) == ("x", *found)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 1, 112, 112), "not RGB pictures"),
        ((1, 3, 112, 96), "pictures of 112x96"),
        ((1, 3), "not RGB pictures"),
    ],
)
def test_an_input_that_is_no_picture_is_refused(shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(PreparationError, match=reason):
        onnx_file.picture_input(model(shape))


def test_of_several_outputs_the_one_with_the_right_name_is_taken() -> None:
    one = model()
    one.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", 3]))
    assert onnx_file.embedding_output(one, "flat") == "flat"
    with pytest.raises(PreparationError, match="2 outputs and none is called 'fc1'"):
        onnx_file.embedding_output(one, "fc1")


@pytest.mark.parametrize("kind", ["initializer", "constant", "computed"])
def test_a_weight_that_is_reshaped_stays_where_the_faces_reshape_takes_any_number(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    slope = random.uniform(size=8).astype(np.float32)
    nodes = {
        "initializer": [],
        "constant": [helper.make_node("Constant", [], ["slope"], value=numpy_helper.from_array(slope))],
        "computed": [helper.make_node("Neg", ["negative"], ["slope"])],
    }[kind]
    arrays = {
        "shape": np.array([1, -1, 1, 1], np.int64),
        "kernel": random.normal(size=(8, 3, 5, 5)).astype(np.float32),
        "weights": random.normal(size=(8, 4)).astype(np.float32),
        **({"slope": slope} if kind == "initializer" else {"negative": -slope} if kind == "computed" else {}),
    }
    nodes += [
        helper.make_node("Conv", ["x", "kernel"], ["conv"], strides=[4, 4]),
        helper.make_node("Reshape", ["slope", "shape"], ["slopes"]),
        helper.make_node("PRelu", ["conv", "slopes"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Reshape", ["pool", "shape"], ["faces"]),  # made for one face, in the same shape
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    one = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    made = onnx_file.wrapped(read(one, tmp_path), ("input", "embeddings"), ("N", 3, 32, 32), output="y")
    (tmp_path / "made.onnx").write_bytes(made.SerializeToString())
    faces = random.normal(size=(3, 3, 32, 32)).astype(np.float32)
    width, difference = onnx_file.difference(tmp_path / "model.onnx", "y", tmp_path / "made.onnx", faces, faces)
    assert width == 4
    assert difference <= 1e-5


GOOD = model().SerializeToString()


@given(data=st.data())
def test_no_damage_gives_anything_but_a_model_or_a_reason(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = bytearray(GOOD)
    place = data.draw(st.integers(0, len(file) - 1))
    file[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(bytes(file))
    try:
        one = onnx_file.read(path)
        onnx_file.picture_input(one)
        onnx_file.embedding_output(one, "y")
    except PreparationError as error:
        assert "\n" not in str(error)
