import numpy as np
import pytest

from preprocess import facenet, photo
from preprocess.errors import InputError
from preprocess.image import decode
from preprocess.mtcnn import Faces

DEFAULTS = {
    "min_face_size": "20",
    "threshold_pnet": "0.6",
    "threshold_rnet": "0.7",
    "threshold_onet": "0.7",
    "factor": "0.709",
}


def faces(count: int) -> Faces:
    boxes = np.tile(np.array([10, 10, 50, 60, 0.9], np.float32), (count, 1))
    landmarks = np.tile(np.array([[20, 25], [40, 25], [30, 35], [22, 48], [38, 48]], np.float32), (count, 1, 1))
    return Faces(boxes, landmarks)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (80, 100, 3), np.uint8)


def test_a_request_without_parameters_takes_those_of_the_model() -> None:
    options = photo.Options.read(DEFAULTS | {"min_face_size": "40"}, {})
    assert options.mtcnn.min_face_size == 40
    assert options.apply_exif


def test_the_parameters_of_a_request_win() -> None:
    options = photo.Options.read(DEFAULTS, {"min_face_size": 80, "threshold_onet": 0.95, "apply_exif": False})
    assert (options.mtcnn.min_face_size, options.mtcnn.threshold_onet, options.apply_exif) == (80, 0.95, False)


@pytest.mark.parametrize(
    "parameters",
    [
        {"min_face_size": 3},
        {"min_face_size": "20"},
        {"min_face_size": True},
        {"threshold_rnet": 1.5},
        {"factor": float("nan")},
        {"factor": 1.0},
        {"apply_exif": 1},
        {"crop": "tight"},
        {"no_such_parameter": 1},
    ],
    ids=str,
)
def test_a_parameter_that_makes_no_sense_is_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        photo.Options.read(DEFAULTS, parameters)
    assert caught.value.code == "parameter_invalid"


def test_only_as_many_faces_as_fit_a_batch_are_kept() -> None:
    assert len(photo.best(faces(40)).boxes) == 32
    assert len(photo.best(faces(40)).landmarks) == 32


def test_every_face_has_its_crop_for_each_network(picture: np.ndarray) -> None:
    options = photo.Options.read(DEFAULTS, {})
    assert photo.facenet_faces(picture, faces(3), options).shape == (3, 160, 160, 3)
    assert photo.arcface_faces(picture, faces(3)).shape == (3, 3, 112, 112)


def test_faces_are_given_as_the_model_was_prepared_for(picture: np.ndarray) -> None:
    options = photo.Options.read(DEFAULTS | {"NORMALISATION": "fixed", "INPUT_SIZE": "96"}, {})
    found = photo.facenet_faces(picture, faces(2), options)
    assert found.shape == (2, 96, 96, 3)
    assert np.abs(found).max() <= 1
    assert photo.facenet_faces(picture, faces(0), options).shape == (1, 96, 96, 3)


def test_a_photo_without_a_face_gives_one_black_crop(picture: np.ndarray) -> None:
    options = photo.Options.read(DEFAULTS, {})
    assert not photo.facenet_faces(picture, faces(0), options).any()
    assert photo.facenet_faces(picture, faces(0), options).shape == (1, 160, 160, 3)
    assert photo.arcface_faces(picture, faces(0)).shape == (1, 3, 112, 112)


def test_crops_for_people_are_what_the_networks_see(picture: np.ndarray) -> None:
    """As PNG, so without loss: whitened, FaceNet's crops are its inputs."""
    options = photo.Options.read(DEFAULTS, {})
    facenet_crops = [decode(file) for file in photo.facenet_crops(picture, faces(2), options)]
    arcface_crops = [decode(file) for file in photo.arcface_crops(picture, faces(2))]
    inputs = photo.facenet_faces(picture, faces(2), options)
    again = [facenet.to_input(crop, options.facenet) for crop in facenet_crops]
    assert np.array_equal(again, inputs)
    aligned = photo.arcface_faces(picture, faces(2)).transpose(0, 2, 3, 1)
    assert np.array_equal(np.stack(arcface_crops), aligned)


def test_a_photo_without_a_face_gives_people_no_crop(picture: np.ndarray) -> None:
    assert photo.facenet_crops(picture, faces(0), photo.Options.read(DEFAULTS, {})).shape == (0,)
    assert photo.arcface_crops(picture, faces(0)).shape == (0,)


def test_the_case_study_cuts_the_bare_box_and_sends_it_through_jpeg(picture: np.ndarray) -> None:
    plain = photo.facenet_faces(picture, faces(1), photo.Options.read(DEFAULTS, {}))
    case_study = photo.facenet_faces(picture, faces(1), photo.Options.read(DEFAULTS, {"crop": "case_study"}))
    assert case_study.shape == plain.shape
    assert np.abs(case_study - plain).max() > 0.1
