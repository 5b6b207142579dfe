"""FaceNet in every accepted form, against the framework it comes from."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from preprocess.prepare import facenet, forms
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from tests.preprocess.prepare import made
from tests.preprocess.prepare.conftest import Native

TENSORFLOW = ("frozen", "fixed", "metagraph", "savedmodel", "savedmodel-frozen", "saved", "exported", "keras", "h5")
ENGINES = ("tensorflow", "onnxruntime")
ONNX = ("channels-first", "channels-last", "batch-of-one")


def prepare_all(paths: dict[str, Path], work: Path) -> dict[str, dict[str, np.ndarray]]:
    """Prepares each checkpoint; gives what the server's engines make of `made.faces()`, by form and engine."""
    results = {}
    for form, path in paths.items():
        folder = work / form
        folder.mkdir()
        size = facenet.write_graph(forms.facenet(path), folder / "model.graphdef")
        facenet.convert_to_onnx(folder / "model.graphdef", folder / "model.onnx")
        assert facenet.compare(folder / "model.graphdef", folder / "model.onnx", size)[0] == made.WIDTH
        results[form] = {engine: made.served(engine, folder, made.faces()) for engine in ENGINES}
    return results


@pytest.fixture(scope="module")
def prepared(facenets: Native, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    paths = {form: facenets[form][0] for form in TENSORFLOW}
    return in_child(prepare_all, paths, tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", TENSORFLOW)
def test_a_tensorflow_checkpoint_gives_its_own_embeddings(
    form: str,
    engine: str,
    prepared: dict[str, dict[str, np.ndarray]],
    facenets: Native,
) -> None:
    embeddings = prepared[form][engine]
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert np.abs(embeddings - facenets[form][1]).max() <= 1e-5


def test_a_saved_model_whose_variables_are_not_there_is_refused(facenets: Native, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes((facenets["savedmodel"][0] / "saved_model.pb").read_bytes())
    with pytest.raises(PreparationError, match="has variables, and its folder variables/ does not hold them"):
        in_child(facenet.write_graph, forms.facenet(tmp_path), tmp_path / "model.graphdef")


@pytest.mark.parametrize("form", ONNX)
def test_an_onnx_file_gives_its_own_embeddings(form: str, facenets: Native, tmp_path: Path) -> None:
    path, expected = facenets[form]
    size, width, difference = in_child(facenet.from_onnx, forms.facenet(path), tmp_path / "model.onnx")
    assert (size, width) == (made.SIZE, made.WIDTH)
    assert difference <= 1e-5
    embeddings = made.served("onnxruntime", tmp_path, made.faces())
    assert np.abs(embeddings - expected).max() <= 1e-5


@pytest.mark.parametrize("side", [63, 513])
def test_an_onnx_file_of_pictures_too_small_or_too_large_is_refused(
    side: int, facenets: Native, tmp_path: Path
) -> None:
    model = onnx.load(facenets["channels-last"][0])
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        dimension.dim_value = side
    onnx.save(model, tmp_path / "source.onnx")
    with pytest.raises(PreparationError, match=f"takes pictures of {side}x{side}; sides of 64 to 512 are served"):
        in_child(facenet.from_onnx, forms.facenet(tmp_path / "source.onnx"), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
