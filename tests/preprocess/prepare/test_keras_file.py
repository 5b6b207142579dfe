"""Keras files that carry code."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from preprocess.prepare import keras_file
from preprocess.prepare.errors import PreparationError
from tests.preprocess.prepare.conftest import Native


def zipped(config: Any, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return path


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_a_plain_model_is_accepted(form: str, facenets: Native) -> None:
    keras_file.check_description(keras_file.description(facenets[form][0]))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"module": "keras.layers", "class_name": "Lambda", "config": {}}, "holds code"),
        ({"class_name": "Lambda", "config": {"function": ["4wEAAAA="]}}, "holds code"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}}, "holds code"),
        ({"module": "subprocess", "class_name": "function", "config": "Popen"}, r"names subprocess\.function"),
        ({"module": "keras.utils", "class_name": "function", "config": "get_file"}, r"names keras\.utils\.function"),
        ({"module": "keras", "class_name": "layers.Lambda", "config": {}}, r"names keras\.layers\.Lambda"),
        ({"module": "keras", "class_name": "function", "config": "utils.get_file"}, r"names keras\.utils\.get_file"),
        ({"module": "mine", "class_name": "Layer", "registered_name": "mine>Layer"}, r"names mine\.Layer"),
    ],
)
def test_a_model_with_code_in_it_is_refused(layer: dict[str, Any], reason: str, tmp_path: Path) -> None:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [{"config": {"inner": [layer]}}]}}
    path = zipped(config, tmp_path / "model.keras")
    with pytest.raises(PreparationError, match=reason):
        keras_file.check_description(keras_file.description(path))


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".keras"])
def test_of_a_file_that_is_both_keras_and_h5_what_keras_loads_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps("as .h5")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", json.dumps("as .keras"))
    assert keras_file.description(path) == ("as .keras" if suffix == ".keras" else "as .h5")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(100), b"text"])
def test_what_is_no_keras_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(data)
    with pytest.raises(PreparationError, match="is damaged, or no Keras model"):
        keras_file.description(path)


def test_a_zip_without_a_description_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.json", "{}")
    with pytest.raises(PreparationError, match="is damaged, or no Keras model"):
        keras_file.description(path)
