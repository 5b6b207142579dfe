"""The reader and writer of -symbol.json files."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.prepare import mxnet_symbol
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_symbol import Node

GRAPH: dict[str, Any] = {
    "nodes": [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "fc1_weight", "inputs": []},
        {"op": "FullyConnected", "name": "fc1", "attrs": {"num_hidden": "4"}, "inputs": [[0, 0, 0], [1, 0, 0]]},
        {"op": "null", "name": "label", "inputs": []},
        {"op": "SoftmaxOutput", "name": "softmax", "inputs": [[2, 0, 0], [3, 0, 0]]},
    ],
    "arg_nodes": [0, 1, 3],
    "heads": [[4, 0, 0]],
    "attrs": {"mxnet_version": ["int", 10400]},
}


def encoded(graph: Any) -> bytes:
    return json.dumps(graph).encode()


def test_a_network_cut_at_a_layer_holds_what_the_layer_needs() -> None:
    symbol = mxnet_symbol.read(encoded(GRAPH)).pruned(["fc1"])
    assert [node.name for node in symbol.nodes] == ["data", "fc1_weight", "fc1"]
    assert symbol.heads == ((2, 0),)
    assert symbol.version == 10400


def test_what_was_written_is_read_back() -> None:
    symbol = mxnet_symbol.read(encoded(GRAPH))
    assert mxnet_symbol.read(mxnet_symbol.write(symbol)) == symbol


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(PreparationError, match="no layer named 'fc2'"):
        mxnet_symbol.read(encoded(GRAPH)).pruned(["fc2"])


@pytest.mark.parametrize("key", ["attrs", "attr", "param"])
def test_attributes_are_read_from_every_mxnet(key: str) -> None:
    node = {"op": "Convolution", "name": "c", key: {"kernel": "(3, 3)"}, "inputs": []}
    symbol = mxnet_symbol.read(encoded({"nodes": [node], "heads": [[0, 0]]}))
    assert symbol.nodes[0].sizes("kernel", ()) == (3, 3)


@pytest.mark.parametrize("text", ["(3, 3)", "[3,3]", "(3L, 3L)", "3, 3"])
def test_sizes_are_read_however_they_were_written(text: str) -> None:
    assert Node("Convolution", "c", {"kernel": text}, ()).sizes("kernel", ()) == (3, 3)


@pytest.mark.parametrize("text", ["", "(3; 3)", "__import__('os')", "(-1, 1)", "(1e3,)"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PreparationError, match="no list of sizes"):
        Node("Convolution", "c", {"kernel": text}, ()).sizes("kernel", ())


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"nodes": None}, id="no nodes"),
        pytest.param({"nodes": [{"op": "null"}]}, id="no name"),
        pytest.param({"nodes": [{"op": 1, "name": "a", "inputs": []}]}, id="op is a number"),
        pytest.param({"nodes": [{"op": "x", "name": "a", "inputs": [[0, 0]]}]}, id="its own input"),
        pytest.param({"nodes": [{"op": "x", "name": "a", "inputs": [[-1, 0]]}]}, id="input before the first"),
        pytest.param({"nodes": [{"op": "x", "name": "a", "inputs": ["b"]}]}, id="input is a text"),
        pytest.param({"heads": [[9, 0, 0]]}, id="head behind the end"),
        pytest.param({"heads": []}, id="no head"),
        pytest.param({"nodes": GRAPH["nodes"][:1] * 2, "heads": [[0, 0]]}, id="one name twice"),
    ],
)
def test_a_broken_network_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(PreparationError):
        mxnet_symbol.read(encoded({**GRAPH, **damage}))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"null", b"[]", b'{"nodes": 1e999}'])
def test_what_is_not_a_network_is_refused(data: bytes) -> None:
    with pytest.raises(PreparationError):
        mxnet_symbol.read(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["nodes", "heads", "op", "name", "inputs", "attrs"]), inner, max_size=6)
        ),
    )
)
def test_no_json_is_a_surprise(graph: Any) -> None:
    try:
        mxnet_symbol.read(encoded(graph))
    except PreparationError as error:
        assert "\n" not in str(error)
