"""Every operator that is converted, against MXNet itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from preprocess.prepare import mxnet_onnx
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_network import Builder, Network
from preprocess.prepare.mxnet_symbol import Output
from tests.preprocess.prepare import made

DATA = np.random.default_rng(0).normal(size=(2, 6, 9, 11)).astype(np.float32)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


Layer = Callable[[Builder, Output], Output]


def layer(op: str, weights: dict[str, np.ndarray] | None = None, **attrs: object) -> Layer:
    return lambda builder, data: builder.layer(op, "made", [data], weights, **attrs)


def twice(op: str, **attrs: object) -> Layer:
    return lambda builder, data: builder.layer(op, "made", [data, data], **attrs)


def on_flat(rest: Layer) -> Layer:
    return lambda builder, data: rest(builder, builder.layer("Flatten", "flat", [data]))


def gated(builder: Builder, data: Output) -> Output:
    pooled = builder.layer("Pooling", "pooled", [data], global_pool=True, kernel=(1, 1), pool_type="avg")
    return builder.layer("broadcast_mul", "made", [data, pooled])


def two_parts(builder: Builder, data: Output) -> Output:
    place, _ = builder.layer("SliceChannel", "parts", [data], num_outputs=3, axis=1)
    return builder.layer("elemwise_add", "made", [(place, 0), (place, 2)])


AVERAGES = {"gamma": numbers(6), "beta": numbers(6), "moving_mean": numbers(6), "moving_var": numbers(6) ** 2}
LAYERS: dict[str, Layer] = {
    "convolution": layer(
        "Convolution", {"weight": numbers(4, 6, 3, 3), "bias": numbers(4)}, kernel=(3, 3), num_filter=4
    ),
    "strided, padded, dilated convolution": layer(
        "Convolution",
        {"weight": numbers(4, 6, 3, 2)},
        kernel=(3, 2),
        num_filter=4,
        stride=(2, 1),
        pad=(1, 2),
        dilate=(2, 1),
        no_bias=True,
    ),
    "depthwise convolution": layer(
        "Convolution", {"weight": numbers(6, 1, 3, 3)}, kernel=(3, 3), num_filter=6, num_group=6, no_bias=True
    ),
    "batch normalisation": layer("BatchNorm", AVERAGES, fix_gamma=False, eps=2e-5),
    "batch normalisation as MXNet means it unsaid": layer("BatchNorm", AVERAGES),
    "batch normalisation of rows": on_flat(
        layer("BatchNorm", {key: np.tile(array, 99) for key, array in AVERAGES.items()}, fix_gamma=False)
    ),
    "prelu": layer("LeakyReLU", {"gamma": numbers(6)}, act_type="prelu"),
    "prelu of rows": on_flat(layer("LeakyReLU", {"gamma": numbers(594)}, act_type="prelu")),
    "leaky relu": layer("LeakyReLU", act_type="leaky", slope=0.1),
    "leaky relu as MXNet means it unsaid": layer("LeakyReLU"),
    "elu": layer("LeakyReLU", act_type="elu", slope=0.3),
    **{kind: layer("Activation", act_type=kind) for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")},
    "max pooling": layer("Pooling", pool_type="max", kernel=(2, 2), stride=(2, 2)),
    "max pooling to the last row": layer(
        "Pooling", pool_type="max", kernel=(2, 2), stride=(2, 2), pooling_convention="full"
    ),
    "padded average": layer("Pooling", pool_type="avg", kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
    "padded average without the padding": layer(
        "Pooling", pool_type="avg", kernel=(3, 3), stride=(2, 2), pad=(1, 1), count_include_pad=False
    ),
    "largest of all": layer("Pooling", pool_type="max", kernel=(1, 1), global_pool=True),
    "gate of a squeeze and excitation": gated,
    "fully connected": layer("FullyConnected", {"weight": numbers(5, 594), "bias": numbers(5)}, num_hidden=5),
    "fully connected without a bias": layer("FullyConnected", {"weight": numbers(5, 594)}, num_hidden=5, no_bias=True),
    "softmax of channels": layer("SoftmaxActivation", mode="channel"),
    "softmax of rows": on_flat(layer("SoftmaxActivation")),
    "softmax of the last": layer("softmax"),
    "flat": layer("Flatten"),
    "parts": two_parts,
    "together": twice("Concat", dim=1, num_args=2),
    "padding": layer("Pad", mode="constant", pad_width=(0, 0, 0, 0, 0, 1, 2, 3), constant_value=0.5),
    "dropout": layer("Dropout", p=0.4),
    "copy": layer("_copy"),
    **{op: twice(op) for op in ("elemwise_add", "broadcast_add", "elemwise_mul", "broadcast_mul")},
    **{op: layer(op, scalar=2.5) for op in ("_plus_scalar", "_minus_scalar", "_rminus_scalar", "_mul_scalar")},
    "_div_scalar": layer("_div_scalar", scalar=2.5),
}


def network(make: Layer) -> Network:
    builder = Builder()
    return builder.network(make(builder, builder.input()))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What MXNet makes of each layer."""
    folder = tmp_path_factory.mktemp("layers")
    checkpoints = []
    for place, make in enumerate(LAYERS.values()):
        files = folder / f"{place}-symbol.json", folder / f"{place}-0000.params"
        for path, data in zip(files, network(make).files(), strict=True):
            path.write_bytes(data)
        checkpoints.append(files)
    outputs = in_child(made.outputs_of_mxnet, checkpoints, [DATA] * len(checkpoints))
    return {name: result[0] for name, result in zip(LAYERS, outputs, strict=True)}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_what_mxnet_computes(name: str, native: dict[str, np.ndarray]) -> None:
    one = network(LAYERS[name])
    model = mxnet_onnx.convert(one.symbol, one.weights, {"data": ("N", 6, 9, 11)})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"data": DATA})[0], native[name], atol=2e-5, rtol=1e-5)


def converted(make: Layer) -> None:
    one = network(make)
    mxnet_onnx.convert(one.symbol, one.weights, {"data": ("N", 6, 9, 11)})


def test_operators_that_are_lacking_are_named() -> None:
    with pytest.raises(PreparationError, match=r"cannot be converted: Custom, RNN$"):
        converted(lambda builder, data: builder.layer("RNN", "made", [builder.layer("Custom", "own", [data])]))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(layer("LeakyReLU", act_type="rrelu"), "act_type='rrelu' cannot", id="activation"),
        pytest.param(layer("Pooling", pool_type="lp"), "pool_type='lp' cannot", id="pooling"),
        pytest.param(layer("Convolution", kernel=(3,)), "has 1 inputs, not 3", id="no weights"),
        pytest.param(
            layer("Convolution", {"weight": numbers(4, 6, 3, 3)}, kernel=(3, 3), num_filter=5, no_bias=True),
            "num_filter and the first dimension",
            id="number of filters",
        ),
        pytest.param(
            layer("FullyConnected", {"weight": numbers(5, 593), "bias": numbers(5)}, num_hidden=5),
            "contradicts itself",
            id="width",
        ),
        pytest.param(layer("BatchNorm", {**AVERAGES, "more": numbers(6)}), "has 6 inputs, not 5", id="averages"),
        pytest.param(layer("_plus_scalar", scalar="x"), "is no number", id="scalar"),
        pytest.param(layer("Pad", mode="edge", pad_width=(0,) * 8), "only mode='constant'", id="padding"),
        pytest.param(layer("SliceChannel", num_outputs=10**9), "1 to 64", id="parts"),
    ],
)
def test_a_layer_that_makes_no_sense_is_refused(make: Layer, reason: str) -> None:
    with pytest.raises(PreparationError, match=reason):
        converted(make)


def test_weights_that_are_missing_are_named() -> None:
    one = network(LAYERS["prelu"])
    with pytest.raises(PreparationError, match="needs the weights 'made_gamma'"):
        mxnet_onnx.convert(one.symbol, {}, {"data": ("N", 6, 9, 11)})


def test_checkpoint_files_stay_with_their_network(tmp_path: Path) -> None:
    symbol, params = network(LAYERS["batch normalisation"]).files()
    assert b"aux:made_moving_mean" in params
    assert b"arg:made_gamma" in params
    assert b'"BatchNorm"' in symbol
