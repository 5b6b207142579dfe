import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage

from preprocess import image, mtcnn, pyramid
from preprocess.cascade import Networks, Options, PatchNetwork
from preprocess.errors import InputError
from preprocess.mtcnn import Detector
from preprocess.workers import Workers

ASTRONAUT: np.ndarray = skimage.data.astronaut()
FACES = Path(__file__).with_name("lfw_fold1.json")  # scripts/benchmarks/detectors/record.py


@pytest.fixture(scope="module")
def loaded(repository: Path) -> Detector:
    return mtcnn.load(repository / "face_detect" / "1", threads=2)


def stub(log_odds: np.ndarray, offsets: np.ndarray) -> Networks:
    """A first network that says the same of every level, and later ones that move nothing and are sure."""

    def later(count: int) -> PatchNetwork:
        def answer(patches: np.ndarray) -> np.ndarray:
            return np.tile(np.array([9] + [0] * (count - 1), np.float32), (len(patches), 1))

        return answer

    def first(level: np.ndarray) -> np.ndarray:
        height, width = pyramid.outputs(level)
        whole = np.concatenate([log_odds[None], offsets]).astype(np.float32)
        return whole[:, -height:, -width:]  # one output: the last

    return Networks(first, later(5), later(15), Workers(1))


def test_the_recorded_answers_are_met_to_a_twentieth_of_a_pixel(loaded: Detector, golden: Path) -> None:
    cases = json.loads((golden / "cases.json").read_text())
    recorded = [case for case in cases if case["class"] == "FaceDetectionModel" and case["case"].startswith("png-")]
    assert recorded
    for case in recorded:
        picture = image.decode((golden / case["request"]).read_bytes())
        expected = np.array(json.loads(case["response"])).reshape(-1, 5)
        np.testing.assert_allclose(mtcnn.detect(picture, loaded, Options()).boxes, expected, atol=0.05)


def test_all_photos_of_the_first_lfw_fold_give_what_the_original_gives(loaded: Detector, shared: Path) -> None:
    for name, faces in json.loads(FACES.read_text()).items():
        picture = image.decode((shared / "lfw-fold1" / name.rsplit("_", 1)[0] / f"{name}.jpg").read_bytes())
        found = mtcnn.detect(picture, loaded, Options())
        expected = np.array(faces).reshape(-1, 15)
        assert len(found.boxes) == len(expected), name
        np.testing.assert_allclose(found.boxes[:, :4], expected[:, :4], atol=0.05, err_msg=name)
        np.testing.assert_allclose(found.boxes[:, 4], expected[:, 4], atol=1e-3, err_msg=name)
        np.testing.assert_allclose(found.landmarks.reshape(-1, 10), expected[:, 5:], atol=0.05, err_msg=name)


def test_a_face_is_found_with_its_landmarks_in_order(loaded: Detector) -> None:
    faces = mtcnn.detect(ASTRONAUT, loaded, Options())
    x1, y1, x2, y2, score = faces.boxes[0]
    assert (x1, y1, x2, y2) == pytest.approx((176, 67, 267, 184), abs=12)
    assert score > 0.99
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_faces_come_by_falling_score(loaded: Detector) -> None:
    wall = np.concatenate([ASTRONAUT[40:240, 120:320], cv2.GaussianBlur(ASTRONAUT, (0, 0), 4)[40:240, 120:320]], axis=1)
    faces = mtcnn.detect(wall, loaded, Options())
    assert len(faces.boxes) == 2
    assert faces.boxes[0, 4] >= faces.boxes[1, 4]


def test_the_number_of_threads_changes_nothing(loaded: Detector, repository: Path) -> None:
    alone = mtcnn.load(repository / "face_detect" / "1", threads=1)
    one, two = (mtcnn.detect(ASTRONAUT, each, Options()) for each in (alone, loaded))
    np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-3)
    np.testing.assert_allclose(one.landmarks, two.landmarks, atol=1e-3)


def test_photos_at_the_same_time_do_not_mix(loaded: Detector) -> None:
    photos = [ASTRONAUT, ASTRONAUT[:, ::-1], ASTRONAUT[:300], np.zeros((90, 80, 3), np.uint8)] * 3
    alone = [mtcnn.detect(photo, loaded, Options()).boxes for photo in photos]
    with ThreadPoolExecutor(6) as callers:
        together = list(callers.map(lambda photo: mtcnn.detect(photo, loaded, Options()).boxes, photos))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (11, 11), (19, 19), (20, 20), (21, 500), (500, 21), (400, 300)], ids=str)
def test_a_picture_without_a_face_gives_empty_arrays(loaded: Detector, size: tuple[int, int]) -> None:
    faces = mtcnn.detect(np.zeros((*size, 3), np.uint8), loaded, Options())
    assert faces.boxes.shape == (0, 5)
    assert faces.landmarks.shape == (0, 5, 2)


def test_a_larger_smallest_face_leaves_small_ones_out(loaded: Detector) -> None:
    small = cv2.resize(ASTRONAUT, (160, 160), interpolation=cv2.INTER_AREA)
    assert len(mtcnn.detect(small, loaded, Options()).boxes) == 1
    assert len(mtcnn.detect(small, loaded, Options(min_face_size=120)).boxes) == 0


def test_a_surer_last_network_leaves_doubtful_faces_out(loaded: Detector) -> None:
    assert len(mtcnn.detect(ASTRONAUT, loaded, Options(threshold_onet=1.0)).boxes) == 0


def test_the_only_candidate_of_a_level_has_its_offsets_read_from_the_mirrored_column() -> None:
    level = np.arange(30 * 30 * 3, dtype=np.uint16).reshape(30, 30, 3).astype(np.uint8)
    seen: list[np.ndarray] = []

    def first(part: np.ndarray) -> np.ndarray:
        seen.append(part)
        return np.full((5, 1, 1), 0.25)

    cells = pyramid.Cells(*(np.array([number]) for number in (0, 4, 1)), np.array([9.0]), np.zeros((1, 4)))
    found = mtcnn._as_the_original(cells, [level], first)
    assert found.tolist() == [[0.25] * 4]
    np.testing.assert_array_equal(seen, [level[8:20, 16:28]])  # row 4 and, mirrored in 10 columns, column 8


def test_two_candidates_keep_their_own_offsets() -> None:
    cells = pyramid.Cells(*(np.array(pair) for pair in ([0, 0], [1, 4], [1, 2])), np.full(2, 9.0), np.eye(4)[:2])
    found = mtcnn._as_the_original(cells, [np.zeros((30, 30, 3), np.uint8)], pytest.fail)
    assert found.tolist() == np.eye(4)[:2].tolist()


def test_the_only_candidate_is_treated_as_the_original_treats_it(loaded: Detector) -> None:
    def first(level: np.ndarray) -> np.ndarray:
        answer = loaded.networks.pnet(level)
        answer[0] = np.where(answer[0] == answer[0].max(), 9, -9)  # one candidate a level
        return answer

    surest = Detector(dataclasses.replace(loaded.networks, pnet=first), loaded.scaler)
    picture = np.ascontiguousarray(ASTRONAUT[:60, 100:172])
    factors = pyramid.scales(picture, 20, 0.5)
    found = mtcnn.propose(picture, surest, Options(factor=0.5))
    expected = []
    levels = loaded.scaler.shrink(
        picture, [pyramid.size(picture, factor) for factor in factors], loaded.networks.workers
    )
    for factor, level in zip(factors, levels, strict=True):
        answer = loaded.networks.pnet(level)
        row, column = np.argwhere(answer[0] == answer[0].max())[0]
        x1, y1 = np.fix((np.array([column, row]) * 2 + 1) / factor)
        x2, y2 = np.fix((np.array([column, row]) * 2 + 12) / factor)
        left, top, right, bottom = answer[1:, row, answer.shape[2] - 1 - column]
        x1, y1, x2, y2 = x1 + left * (x2 - x1), y1 + top * (y2 - y1), x2 + right * (x2 - x1), y2 + bottom * (y2 - y1)
        side = max(x2 - x1, y2 - y1)
        x1, y1 = x1 + (x2 - x1 - side) / 2, y1 + (y2 - y1 - side) / 2
        expected.append([x1, y1, x1 + side, y1 + side])
    assert len(factors) > 1
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(np.fix(expected), axis=0), atol=1)


def test_corners_count_from_one_and_are_cut_to_whole_pixels(loaded: Detector) -> None:
    log_odds, offsets = np.full((10, 10), -9.0), np.zeros((4, 10, 10))
    log_odds[4, [1, 7]] = 9
    faces = mtcnn.detect(
        np.zeros((50, 50, 3), np.uint8), Detector(stub(log_odds, offsets), loaded.scaler), Options(factor=0.1)
    )
    # The cells begin at pixels 2 and 14 of a level 0.6 times the picture: fix(3 / 0.6), fix(9 / 0.6), fix(14 / 0.6) ...
    assert sorted(faces.boxes[:, :4].tolist()) == [[5, 15, 23, 33], [25, 15, 43, 33]]


@pytest.mark.parametrize(
    "options",
    [
        {"min_face_size": 11},
        {"min_face_size": 5001},
        {"threshold_pnet": -0.1},
        {"threshold_onet": 1.1},
        {"factor": 0.95},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError) as caught:
        Options(**options)
    assert caught.value.code == "parameter_invalid"
    assert next(iter(options)) in str(caught.value)
