"""The detector's networks in their canonical form."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from preprocess.prepare import forms, mtcnn, mxnet_network, mxnet_onnx, packages
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.places import PACKAGES

SIZES = {"pnet": (37, 52), "rnet": (24, 24), "onet": (48, 48)}


@pytest.fixture(scope="module")
def from_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default networks, from the package that scripts/prepare-models fetched."""
    if not (PACKAGES / packages.MTCNN.filename).is_file():
        pytest.skip("the package of MTCNN was not fetched into this checkout")
    folder = tmp_path_factory.mktemp("package")
    for member, data in packages.fetch(packages.MTCNN, PACKAGES).items():
        (folder / f"{Path(member).stem}.source.onnx").write_bytes(data)
    assert max(in_child(mtcnn.write_keras, folder).values()) <= 1e-5
    return folder


@pytest.fixture(scope="module")
def from_insightface(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of an mtcnn-model folder; comparing them with MXNet is part of writing them."""
    folder = tmp_path_factory.mktemp("insightface")
    source = shared / "models" / "mtcnn-mxnet"
    files = {name: forms.mxnet(source / prefix, 1) for name, prefix in mtcnn.MXNET_NAMES.items()}
    assert max(in_child(mtcnn.write_mxnet, files, folder).values()) <= 1e-5
    return folder


def outputs(path: Path, data: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": data}), strict=True))


def pictures(name: str, count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 3, *SIZES[name])).astype(np.float32)


@pytest.mark.parametrize("name", SIZES)
def test_both_sources_hold_the_same_network(name: str, from_package: Path, from_insightface: Path) -> None:
    ours = outputs(from_package / f"{name}.onnx", pictures(name))
    theirs = outputs(from_insightface / f"{name}.onnx", pictures(name))
    assert ours.keys() == theirs.keys()
    for output in ours:
        np.testing.assert_allclose(ours[output], theirs[output], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("pnet", {"prob": (3, 1, 14, 21), "reg": (3, 4, 14, 21)}),
        ("rnet", {"prob": (3,), "reg": (3, 4)}),
        ("onet", {"prob": (3,), "reg": (3, 4), "landmarks": (3, 10)}),
    ],
)
def test_outputs_have_the_documented_shapes(name: str, shapes: dict[str, tuple[int, ...]], from_package: Path) -> None:
    made = outputs(from_package / f"{name}.onnx", pictures(name))
    assert {output: array.shape for output, array in made.items()} == shapes
    assert ((made["prob"] >= 0) & (made["prob"] <= 1)).all()


def test_any_batch_gives_what_each_gives_alone(from_package: Path) -> None:
    together = outputs(from_package / "rnet.onnx", pictures("rnet", 5))
    alone = [outputs(from_package / "rnet.onnx", one[None])["reg"] for one in pictures("rnet", 5)]
    np.testing.assert_allclose(together["reg"], np.concatenate(alone), atol=1e-6)


def test_the_landmark_network_takes_five_rgb_patches(from_insightface: Path) -> None:
    patches = np.random.default_rng(2).uniform(-1, 1, (2, 15, 24, 24)).astype(np.float32)
    made = outputs(from_insightface / "lnet.onnx", patches)
    assert {name: array.shape for name, array in made.items()} == {f"fc5_{k}": (2, 2) for k in range(1, 6)}


@pytest.mark.parametrize("name", SIZES)
def test_the_general_converter_agrees(name: str, shared: Path, from_insightface: Path) -> None:
    files = forms.mxnet(shared / "models" / "mtcnn-mxnet" / mtcnn.MXNET_NAMES[name], 1)
    network = mxnet_network.read(*files)
    model = mxnet_onnx.convert(network.symbol, network.weights, {"data": ("N", 3, *SIZES[name])})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    *_, boxes, probabilities = session.run(None, {"data": pictures(name)[:, ::-1].copy()})
    canonical = outputs(from_insightface / f"{name}.onnx", pictures(name))
    np.testing.assert_allclose(canonical["reg"], boxes, atol=1e-6)
    np.testing.assert_allclose(canonical["prob"].ravel(), probabilities[:, 1].ravel(), atol=1e-6)


def test_another_network_of_the_folder_is_not_taken_for_this_one(shared: Path) -> None:
    files = forms.mxnet(shared / "models" / "mtcnn-mxnet" / "det2", 1)
    with pytest.raises(PreparationError, match=r"this is not onet|contradicts itself"):
        mtcnn.from_mxnet("onet", *files)


Change = Callable[[dict[str, Any]], None]


def attribute(layer: str, name: str, value: str) -> Change:
    def change(symbol: dict[str, Any]) -> None:
        (node,) = (node for node in symbol["nodes"] if node["name"] == layer)
        next(node[key] for key in ("attrs", "attr", "param") if key in node)[name] = value

    return change


def without_bias(symbol: dict[str, Any]) -> None:
    attribute("conv2", "no_bias", "True")(symbol)
    (node,) = (node for node in symbol["nodes"] if node["name"] == "conv2")
    del node["inputs"][2]


def with_dropout(symbol: dict[str, Any]) -> None:
    """Behind prelu4, so that all later nodes move up by one."""
    nodes = symbol["nodes"]
    place = next(place for place, node in enumerate(nodes) if node["name"] == "prelu4")
    for node in nodes[place + 1 :]:
        node["inputs"] = [[source + (source >= place), *rest] for source, *rest in node["inputs"]]
    symbol["heads"] = [[source + (source > place), *rest] for source, *rest in symbol["heads"]]
    symbol["arg_nodes"] = [source + (source > place) for source in symbol["arg_nodes"]]
    nodes.insert(place + 1, {"op": "Dropout", "name": "drop", "attrs": {"p": "0.5"}, "inputs": [[place, 0]]})


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        pytest.param("det1", attribute("conv1", "pad", "(1, 1)"), "no Conv with pads of", id="padding"),
        pytest.param("det1", attribute("conv2", "stride", "(2, 2)"), "no Conv with strides of", id="stride"),
        pytest.param("det1", attribute("pool1", "pooling_convention", "valid"), "no MaxPool with ceil_mode", id="pool"),
        pytest.param("det1", attribute("pool1", "kernel", "(2, 3)"), "pnet computes something else", id="window"),
        pytest.param("det2", without_bias, "no Conv without a bias", id="no bias"),
        pytest.param("det2", with_dropout, "no Identity", id="dropout"),
    ],
)
def test_a_detector_that_would_be_served_as_another_is_refused(
    name: str, change: Change, reason: str, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mtcnn-model"
    shutil.copytree(shared / "models" / "mtcnn-mxnet", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    path = folder / f"{name}-symbol.json"
    symbol = json.loads(path.read_text())
    change(symbol)
    path.write_text(json.dumps(symbol))
    files = {name: forms.mxnet(folder / prefix, 1) for name, prefix in mtcnn.MXNET_NAMES.items()}
    with pytest.raises(PreparationError, match=reason):
        in_child(mtcnn.write_mxnet, files, tmp_path)
