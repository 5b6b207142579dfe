"""ArcFace in every accepted form, against the framework it comes from."""

from pathlib import Path

import numpy as np
import pytest

from preprocess.prepare import arcface, forms, native
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from tests.preprocess.prepare import made
from tests.preprocess.prepare.conftest import Native


@pytest.mark.parametrize("name", ["resnet-se", "resnet34", "mobilefacenet-y1"])
def test_a_checkpoint_that_mxnet_saved_gives_its_own_embeddings(name: str, arcfaces: Native, tmp_path: Path) -> None:
    if name not in arcfaces:
        pytest.skip("../shared/models/symbols is not here")
    prefix, expected = arcfaces[name]
    in_child(arcface.from_mxnet, forms.arcface(prefix, 3), tmp_path)
    in_child(arcface.convert_to_onnx, tmp_path)
    width, difference = in_child(arcface.compare, tmp_path, None)
    assert width == expected.shape[1]
    assert difference <= 1e-5
    for engine in ("onnxruntime", "mxnet"):
        served = in_child(made.served, engine, tmp_path, made.aligned())
        assert native.largest_difference(served, expected) <= 1e-5


@pytest.mark.parametrize("name", ["scaled-outside", "scaled-inside"])
def test_an_onnx_file_gives_its_own_embeddings(name: str, arcfaces: Native, tmp_path: Path) -> None:
    path, expected = arcfaces[name]
    width, difference = in_child(arcface.from_onnx, forms.arcface(path, 0), tmp_path)
    assert width == made.WIDTH
    assert difference <= 1e-5
    served = in_child(made.served, "onnxruntime", tmp_path, made.aligned())
    assert native.largest_difference(served, expected) <= 1e-5


def test_an_onnx_file_of_another_size_is_refused(facenets: Native, tmp_path: Path) -> None:
    path, _ = facenets["channels-first"]
    with pytest.raises(PreparationError, match="takes pictures of 160x160; ArcFace's are 112x112"):
        in_child(arcface.from_onnx, forms.arcface(path, 0), tmp_path)


def test_a_checkpoint_that_differs_from_its_original_stops_the_preparation(arcfaces: Native, tmp_path: Path) -> None:
    prefix, _ = arcfaces["resnet-se"]
    in_child(arcface.from_mxnet, forms.arcface(prefix, 3), tmp_path)
    in_child(arcface.convert_to_onnx, tmp_path)
    with pytest.raises(PreparationError, match="differs from the TFLite original by"):
        in_child(arcface.compare, tmp_path, np.zeros((4, 16), np.float32))


def test_a_conversion_that_differs_from_mxnet_stops_the_preparation(arcfaces: Native, tmp_path: Path) -> None:
    prefix, _ = arcfaces["resnet-se"]
    in_child(arcface.from_mxnet, forms.arcface(prefix, 3), tmp_path)
    in_child(arcface.convert_to_onnx, tmp_path)
    in_child(made.spoilt_checkpoint, tmp_path)
    with pytest.raises(PreparationError, match="conversion differs from MXNet by"):
        in_child(arcface.compare, tmp_path, None)
