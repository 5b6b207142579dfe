import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from preprocess import fusion

SIZES = {"rnet": 24, "onet": 48}
HEADS = {"prob": 2, "reg": 4, "landmarks": 10}
# The layers of each network: channels out, kernel, side of the pooling's window.
LAYERS = {
    "pnet": [(10, 3, 2), (16, 3, 0), (32, 3, 0)],
    "rnet": [(28, 3, 3), (48, 3, 3), (64, 2, 0)],
    "onet": [(32, 3, 3), (64, 3, 3), (64, 3, 2), (128, 2, 0)],
}


def network(name: str, slopes: tuple[float, float], width: int = 0) -> onnx.ModelProto:
    """A network of MTCNN's form with random weights; `width` replaces the first layer's channels."""
    random = np.random.default_rng(9)
    nodes, constants = [], []

    def constant(label: str, *shape: int, low: float = -0.2, high: float = 0.2) -> str:
        constants.append(numpy_helper.from_array(random.uniform(low, high, shape).astype(np.float32), label))
        return label

    def add(kind: str, output: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    tensor, channels = "input", 3
    for place, (out, kernel, pool) in enumerate(LAYERS[name]):
        out = width if width and not place else out
        weight, bias = constant(f"w{place}", out, channels, kernel, kernel), constant(f"b{place}", out)
        tensor = add("Conv", f"conv{place}", tensor, weight, bias, kernel_shape=[kernel, kernel])
        slope = constant(f"a{place}", out, 1, 1, low=slopes[0], high=slopes[1])
        tensor, channels = add("PRelu", f"prelu{place}", tensor, slope), out
        if pool:
            tensor = add("MaxPool", f"pool{place}", tensor, kernel_shape=[pool, pool], strides=[2, 2], ceil_mode=1)
    if name != "pnet":
        side = 3
        tensor = add("Flatten", "flat", tensor)
        tensor = add("Gemm", "dense", tensor, constant("wd", 64, channels * side * side), constant("bd", 64), transB=1)
        tensor, channels = add("PRelu", "prelud", tensor, constant("ad", 64)), 64
    heads = [head for head in HEADS if name == "onet" or head != "landmarks"]
    for head in heads:
        output = "logits" if head == "prob" else head
        if name == "pnet":
            add(
                "Conv",
                output,
                tensor,
                constant(f"w{head}", HEADS[head], channels, 1, 1),
                constant(f"b{head}", HEADS[head]),
            )
        else:
            add(
                "Gemm",
                output,
                tensor,
                constant(f"w{head}", HEADS[head], channels),
                constant(f"b{head}", HEADS[head]),
                transB=1,
            )
    add("Softmax", "both", "logits", axis=1)
    constants.append(numpy_helper.from_array(np.array([1], np.int64), "face"))
    add("Gather", "prob", "both", "face", axis=1)
    size = SIZES.get(name)
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size or "h", size or "w"])
    given = [helper.make_tensor_value_info(head, TensorProto.FLOAT, None) for head in heads]
    graph = helper.make_graph(nodes, name, [taken], given, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, inputs)]


def plain(model: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    """The given network's numbers for float32[n, h, w, 3], with the probability of a face first."""
    scaled = ((pictures.transpose(0, 3, 1, 2) - 127.5) * 0.0078125).astype(np.float32)
    outputs = run(model, input=scaled)
    return np.concatenate([output.reshape(len(pictures), -1, *output.shape[2:]) for output in outputs], axis=1)


def probable(numbers: np.ndarray) -> np.ndarray:
    return np.concatenate([1 / (1 + np.exp(-numbers[:, :1])), numbers[:, 1:]], axis=1)


@pytest.mark.parametrize(
    ("slopes", "width"),
    [
        pytest.param((-1.3, 1.3), 0, id="slopes of all kinds"),
        pytest.param((0, 1), 0, id="rising"),
        pytest.param((-1, 0), 0, id="falling"),
        pytest.param((1, 2), 0, id="steep"),
        pytest.param((-1, 0), 14, id="more falling channels than a block has room for"),
        pytest.param((-1.3, 1.3), 20, id="more channels than a block"),
    ],
)
@pytest.mark.parametrize("size", [(60, 47), (12, 12), (11, 30)], ids=str)
def test_the_first_network_computes_the_same_in_its_faster_form(
    slopes: tuple[float, float], width: int, size: tuple[int, int]
) -> None:
    model = network("pnet", slopes, width)
    pictures = np.random.default_rng(10).integers(0, 256, (1, *size, 3), np.uint8)
    found = run(fusion.over_pixels(model), input=pictures.reshape(1, 1, size[0], -1))[0]
    np.testing.assert_allclose(probable(found), plain(model, pictures), atol=1e-4)


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_the_later_networks_compute_the_same_in_their_faster_form(name: str) -> None:
    model = network(name, (-1.3, 1.3))
    pictures = np.random.default_rng(11).integers(0, 256, (3, SIZES[name], SIZES[name], 3)).astype(np.float32)
    seen = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    found = run(fusion.over_patches(model, SIZES[name]), input=seen)[0]
    np.testing.assert_allclose(probable(found), plain(model, pictures), atol=1e-4)


def test_a_network_of_another_form_is_refused() -> None:
    model = network("pnet", (0, 1))
    model.graph.node[2].op_type = "AveragePool"
    with pytest.raises(ValueError, match="AveragePool"):
        fusion.over_pixels(model)


def test_a_network_without_offsets_is_refused() -> None:
    model = network("rnet", (0, 1))
    for node in model.graph.node:
        node.output[:] = ["other" if output == "reg" else output for output in node.output]
    with pytest.raises(ValueError, match="outputs"):
        fusion.over_patches(model, 24)


def test_a_layer_without_a_bias_is_refused() -> None:
    model = network("pnet", (0, 1))
    del model.graph.node[0].input[2]
    with pytest.raises(ValueError, match="no Conv without a bias"):
        fusion.over_pixels(model)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("Conv", "strides", [2, 2]),
        ("Conv", "pads", [1, 1, 1, 1]),
        ("Conv", "dilations", [2, 2]),
        ("Conv", "group", 2),
        ("MaxPool", "strides", [1, 1]),
        ("MaxPool", "pads", [0, 0, 1, 1]),
        ("MaxPool", "ceil_mode", 0),
        ("Gemm", "transB", 0),
    ],
)
def test_a_layer_that_is_computed_in_another_way_is_refused(kind: str, name: str, value: object) -> None:
    model = network("onet", (0, 1))
    node = next(node for node in model.graph.node if node.op_type == kind)
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
    with pytest.raises(ValueError, match=f"no {kind} with {name} of "):
        fusion.over_patches(model, 48)


def test_a_pooling_whose_stride_is_left_out_is_refused() -> None:
    model = network("pnet", (0, 1))
    (node,) = (node for node in model.graph.node if node.op_type == "MaxPool")
    del node.attribute[1:]
    with pytest.raises(ValueError, match=r"no MaxPool with strides of \[1, 1\], but of \[2, 2\]"):
        fusion.over_pixels(model)


def test_layers_in_another_order_are_refused() -> None:
    model = network("pnet", (0, 1))
    model.graph.node.insert(0, helper.make_node("MaxPool", ["input"], ["pooled"], strides=[2, 2], ceil_mode=1))
    with pytest.raises(ValueError, match="follow each other in another order"):
        fusion.over_pixels(model)
