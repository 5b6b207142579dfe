import base64
import json
from pathlib import Path

import numpy as np
import pytest

from preprocess import facenet, image


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)


def test_a_whitened_face_has_mean_zero_and_deviation_one(photo: np.ndarray) -> None:
    face = facenet.to_input(photo, facenet.Form())
    assert face.shape == (160, 160, 3)
    assert face.dtype == np.float32
    assert abs(face.mean()) < 1e-4
    assert abs(face.std() - 1) < 1e-4


def test_a_flat_picture_becomes_zeros_and_not_nan() -> None:
    assert not facenet.prewhiten(np.full((160, 160, 3), 77, np.uint8)).any()


def test_a_face_of_the_right_size_is_not_resampled() -> None:
    face = np.random.default_rng(2).integers(0, 256, (160, 160, 3), np.uint8)
    np.testing.assert_array_equal(facenet.resize(face), face)


def test_a_crop_has_half_the_margin_on_each_side(photo: np.ndarray) -> None:
    cut = facenet.crop(photo, np.array([40.9, 30.2, 80.9, 60.2], np.float32), margin=10)
    np.testing.assert_array_equal(cut, photo[25:65, 35:85])


def test_a_crop_ends_at_the_border(photo: np.ndarray) -> None:
    cut = facenet.crop(photo, np.array([-5, -5, 200, 200], np.float32))
    np.testing.assert_array_equal(cut, photo)


def test_a_box_outside_the_picture_still_gives_a_pixel(photo: np.ndarray) -> None:
    assert facenet.crop(photo, np.array([500, 500, 600, 600], np.float32)).shape == (1, 1, 3)


def test_the_recorded_crop_is_made_again_bit_by_bit(golden: Path) -> None:
    box = json.loads(recorded(golden, "FaceDetectionModel", "photo-img5.jpg"))[0]
    photo = image.decode((golden / "images" / "img5.jpg").read_bytes())
    request = json.loads((golden / "requests" / "gen_img_json-1.json").read_text())
    expected = image.decode(base64.b64decode(request["images"][0]))
    np.testing.assert_array_equal(facenet.resize(facenet.crop(photo, np.array(box[:4], np.float32))), expected)


def recorded(golden: Path, service: str, case: str) -> str:
    cases = json.loads((golden / "cases.json").read_text())
    return str(next(one["response"] for one in cases if (one["class"], one["case"]) == (service, case)))


def test_fixed_values_are_those_of_facenets_training(photo: np.ndarray) -> None:
    face = facenet.to_input(photo, facenet.Form.read({"NORMALISATION": "fixed", "INPUT_SIZE": "96"}))
    assert face.shape == (96, 96, 3)
    assert face.dtype == np.float32
    assert np.array_equal(face, (facenet.resize(photo, 96) - 127.5) / 128)


def test_a_model_that_was_not_prepared_whitens() -> None:
    assert facenet.Form.read({}) == facenet.Form(160, "prewhiten")


def test_a_normalisation_that_is_not_known_stops_the_model() -> None:
    with pytest.raises(ValueError, match="NORMALISATION is 'none'; known are prewhiten and fixed"):
        facenet.Form.read({"NORMALISATION": "none"})
