"""The Python client's values and the functions between them and Triton's arrays."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import faces
from client.errors import BadPicture, BadUpstream, TooLarge
from client.settings import Settings

BOX = np.array([[1, 2, 30, 40, 0.9]], np.float32)
POINTS = np.zeros((1, 5, 2), np.float32)


def photo(*embeddings, count=None):
    """The arrays of a photo model's answer."""
    n = len(embeddings)
    rows = embeddings or ([0.0, 0.0],)
    return {
        "BOXES": np.repeat(BOX, n, 0),
        "LANDMARKS": np.repeat(POINTS, n, 0),
        "EMBEDDING": np.array(rows, np.float32),
        "FACE_COUNT": np.array([n if count is None else count], np.int32),
    }


def test_an_encoded_picture_is_sent_as_it_is(make_picture):
    data = make_picture("JPEG")
    assert faces.encode(data) is data


def test_pixels_are_sent_without_loss():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(faces.encode(pixels)))), pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((4, 4, 3), np.float32), id="float"),
        pytest.param(np.zeros((4, 4), np.uint8), id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), id="rgba"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="empty"),
    ],
)
def test_pixels_of_another_form_are_refused(pixels):
    with pytest.raises(BadPicture, match=r"image_format: pixels must be uint8\[height, width, 3\] in RGB"):
        faces.encode(pixels)


@pytest.mark.parametrize("photo", ["first.jpg", Path("first.jpg"), None, bytearray(b"photo"), [[0]]], ids=repr)
def test_what_is_neither_bytes_nor_pixels_is_no_photo(photo):
    with pytest.raises(TypeError, match=r"a photo is bytes or pixels .* read a file with Path\(name\).read_bytes\(\)"):
        faces.encode(photo)


@pytest.mark.parametrize(
    "crops",
    [b"photo", b"", "first.jpg", Path("first.jpg"), None, np.zeros((4, 4, 3), np.uint8)],
    ids=["bytes", "no-bytes", "name", "path", "none", "pixels"],
)
def test_one_crop_is_no_list_of_crops(crops):
    with pytest.raises(TypeError, match=r"crops are a list of photos; give a single one as \[photo\]"):
        faces.require_several(crops)


@pytest.mark.parametrize("crops", [[], (b"a", b"b"), iter([b"a"]), np.zeros((2, 4, 4, 3), np.uint8)])
def test_several_crops_may_come_in_any_sequence(crops):
    faces.require_several(crops)


def test_a_picture_over_the_limit_is_refused_before_it_is_sent():
    assert faces.encode(bytes(Settings.max_image_bytes))
    with pytest.raises(TooLarge, match="8388609 bytes; at most 8388608"):
        faces.encode(bytes(Settings.max_image_bytes + 1))


def test_the_row_that_stands_for_no_face_is_dropped():
    none = faces.embedded(photo())
    assert none.embeddings.shape == (0, 2)
    assert none.boxes.shape == (0, 5)
    assert none.found == 0


def test_faces_beyond_the_best_are_counted():
    assert faces.embedded(photo([1, 0], count=50)).found == 50


def test_more_embeddings_than_faces_are_a_garbled_answer():
    garbled = photo([1, 0])
    garbled["EMBEDDING"] = np.zeros((2, 2), np.float32)
    with pytest.raises(BadUpstream, match="differ in number"):
        faces.embedded(garbled)


def test_the_largest_faces_are_compared_whatever_their_score():
    group = photo([0, 1], [1, 0])
    group["BOXES"][1, 2:4] = 300
    assert faces.compared(faces.embedded(group), faces.embedded(photo([1, 0])), None).distance == 0


@pytest.mark.parametrize(("threshold", "match"), [(1.5, True), (1.4, False), (None, None)])
def test_the_distance_is_compared_with_the_threshold(threshold, match):
    first, second = faces.embedded(photo([1, 0], [0, -1])), faces.embedded(photo([0, 1]))
    result = faces.compared(first, second, threshold)
    assert result.distance == pytest.approx(2**0.5)
    assert result.match is match


def test_a_photo_without_a_face_cannot_be_compared():
    with pytest.raises(BadPicture, match="no_face: the second photo shows no face"):
        faces.compared(faces.embedded(photo([1, 0])), faces.embedded(photo()), 1.0)


def test_every_pair_has_its_distance():
    found = faces.distances(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:2])
    assert found.shape == (3, 2)
    assert found[2] == pytest.approx([2**0.5, 2**0.5])
    assert found[1, 1] == 0
