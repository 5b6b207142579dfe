"""Checkpoints made once for all tests of the preparation, and what their frameworks make of them."""

from pathlib import Path

import numpy as np
import pytest

from preprocess.prepare.child import in_child
from tests.conftest import SHARED
from tests.preprocess.prepare import made

FOLDERS = ("metagraph", "savedmodel", "savedmodel-frozen", "saved", "exported")
"""The forms that are not one file."""

Native = dict[str, tuple[Path, np.ndarray]]
"""A checkpoint's path and the native framework's embeddings of the test's faces, by form."""


@pytest.fixture(scope="session")
def facenets(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """A FaceNet in each of TensorFlow's forms and in ONNX; embeddings of `made.faces()`."""
    folder = tmp_path_factory.mktemp("facenet")
    results = {
        **in_child(made.tensorflow_1, folder),
        **in_child(made.tensorflow_2, folder),
        **made.onnx_facenets(folder),
    }
    files = {"frozen": "frozen.pb", "fixed": "fixed.pb", "keras": "model.keras", "h5": "model.h5"}
    return {
        form: (
            folder / files.get(form, form if form in FOLDERS else f"{form}.onnx"),
            native,
        )
        for form, native in results.items()
    }


@pytest.fixture(scope="session")
def arcfaces(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """Checkpoints that MXNet saved, by prefix (epoch 3), and ONNX files; embeddings of `made.aligned()`."""
    folder = tmp_path_factory.mktemp("arcface")
    symbols = SHARED / "models" / "symbols"
    results = in_child(made.insightface, folder, symbols if symbols.is_dir() else None)
    return {
        **{name: (folder / name, native) for name, native in results.items()},
        **{name: (folder / f"{name}.onnx", native) for name, native in made.onnx_arcfaces(folder).items()},
    }
