from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import skimage

from preprocess import boxes as box
from preprocess import cascade, image, insightface, mtcnn, networks
from preprocess.cascade import Networks

ASTRONAUT: np.ndarray = skimage.data.astronaut()
FACE = ASTRONAUT[60:190, 165:280]


@pytest.fixture(scope="module")
def weights(repository: Path) -> Path:
    return repository / "face_detect" / "1"


@pytest.fixture(scope="module")
def loaded(weights: Path) -> Networks:
    return networks.load(weights, threads=2)


class Plain:
    """`detect_face(img, det_type=0)` step by step on the networks as they are prepared, without landmarks moved."""

    def __init__(self, weights: Path) -> None:
        self.sessions = {
            name: onnxruntime.InferenceSession(str(weights / f"{name}.onnx"), providers=["CPUExecutionProvider"])
            for name in ("pnet", "rnet", "onet")
        }

    def run(self, name: str, picture: np.ndarray) -> dict[str, np.ndarray]:
        session = self.sessions[name]
        scaled = (picture.astype(np.float32).transpose(2, 0, 1) - 127.5) * np.float32(0.0078125)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"input": scaled[None]}), strict=True))

    def detect(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = photo.shape[:2]
        scale, shorter, found = 0.6, min(height, width) * 0.6, []
        while shorter > 12:
            level = cv2.resize(photo, (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
            answer = self.run("pnet", level)
            rows, columns = np.where(answer["prob"][0, 0] > 0.6)
            at = np.stack([columns, rows], axis=1)
            corners = np.round(np.hstack([2 * at + 1, 2 * at + 13]) / scale)
            scores = answer["prob"][0, 0, rows, columns]
            kept = box.nms(corners, scores, 0.5)
            found.append(np.column_stack([corners, scores, answer["reg"][0][:, rows, columns].T])[kept])
            scale, shorter = scale * 0.709, shorter * 0.709
        cells = np.concatenate(found)
        cells = cells[box.nms(cells, cells[:, 4], 0.7)]
        candidates = self.squared(self.moved(cells[:, :4], cells[:, 5:]))
        candidates, scores, answers = self.seen("rnet", photo, candidates, 24, np.uint8, 0.7)
        kept = box.nms(candidates, scores, 0.7)
        moved = self.moved(candidates[kept], np.concatenate([answer["reg"] for answer in answers])[kept])
        candidates, scores, answers = self.seen("onet", photo, self.squared(moved), 48, np.float32, 0.8)
        points = np.concatenate([answer["landmarks"] for answer in answers])
        side = candidates[:, 2:] - candidates[:, :2] + 1
        landmarks = candidates[:, None, :2] + side[:, None] * points.reshape(-1, 2, 5).transpose(0, 2, 1)
        moved = self.moved(candidates, np.concatenate([answer["reg"] for answer in answers]))
        kept = box.nms(moved, scores, 0.7, over_smaller=True)
        return moved[kept], landmarks[kept]

    def seen(
        self, name: str, photo: np.ndarray, candidates: np.ndarray, size: int, dtype: type, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
        height, width = photo.shape[:2]
        last = np.array([width, height, width, height]) - 1
        far = 600
        wide = np.pad(photo, [(far, far), (far, far), (0, 0)]).astype(dtype)
        answers, passed = [], []
        for x1, y1, x2, y2 in candidates.astype(int):
            answer = self.run(name, cv2.resize(wide[far + y1 : far + y2 + 1, far + x1 : far + x2 + 1], (size, size)))
            passed.append(answer["prob"][0] > threshold)
            answers += [answer] if passed[-1] else []
        return np.clip(candidates[passed], 0, last), np.array([answer["prob"][0] for answer in answers]), answers

    @staticmethod
    def moved(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        side = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
        return boxes + side * offsets

    @staticmethod
    def squared(boxes: np.ndarray) -> np.ndarray:
        side = boxes[:, 2:] - boxes[:, :2] + 1
        longest = side.max(axis=1, keepdims=True)
        corner = boxes[:, :2] + side * 0.5 - longest * 0.5
        return np.round(np.hstack([corner, corner + longest - 1]))


def check_against_plain(weights: Path, loaded: Networks, photo: np.ndarray) -> None:
    boxes, landmarks = Plain(weights).detect(photo)
    found = insightface.search(photo, loaded, None)
    assert found is not None
    np.testing.assert_allclose(found.box, boxes[0], atol=0.05)
    np.testing.assert_allclose(found.landmarks, landmarks[0], atol=0.05)


def test_full_mode_is_the_original_step_by_step(weights: Path, loaded: Networks) -> None:
    check_against_plain(weights, loaded, ASTRONAUT)


@pytest.mark.parametrize("name", ["selfie-many-people", "ivan", "img5", "img62"])
def test_full_mode_is_the_original_on_photos_too(weights: Path, loaded: Networks, golden: Path, name: str) -> None:
    check_against_plain(weights, loaded, image.decode((golden / "images" / f"{name}.jpg").read_bytes()))


@pytest.mark.parametrize("find", [insightface.locate, insightface.search])
def test_both_modes_find_the_face_of_a_crop(weights: Path, loaded: Networks, find: insightface.Finder) -> None:
    found = find(FACE, loaded, None)
    assert found is not None
    expected = mtcnn.detect(FACE, mtcnn.load(weights, threads=2), cascade.Options()).landmarks[0]
    np.testing.assert_allclose(found.landmarks, expected, atol=6)


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (20, 20), (112, 112)], ids=str)
@pytest.mark.parametrize("find", [insightface.locate, insightface.search])
def test_a_picture_without_a_face_is_none(loaded: Networks, find: insightface.Finder, size: tuple[int, int]) -> None:
    assert find(np.zeros((*size, 3), np.uint8), loaded, None) is None


def test_a_level_of_exactly_one_cell_is_left_out(loaded: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def scan(levels: list[np.ndarray], *others: object) -> object:
        asked.append(len(levels))
        raise InterruptedError

    monkeypatch.setattr(insightface.pyramid, "scan", scan)
    for side in (20, 21):
        with pytest.raises(InterruptedError):
            insightface.search(np.zeros((side, 80, 3), np.uint8), loaded, None)
    assert asked == [0, 1]


def test_the_landmark_network_moves_points_within_its_patches(loaded: Networks) -> None:
    seen: list[np.ndarray] = []

    def moving(to: list[float]) -> Callable[[np.ndarray], np.ndarray]:
        def lnet(patches: np.ndarray) -> np.ndarray:
            seen.append(patches)
            return np.array([[to] * 5], np.float32)

        return lnet

    still, moved, too_far = (
        insightface.locate(FACE, loaded, moving(to)) for to in ([0.5, 0.5], [0.6, 0.4], [0.9, 0.5])
    )
    assert still is not None and moved is not None and too_far is not None
    assert seen[0].shape == (1, 15, 24, 24)
    assert -1 <= seen[0].min() < seen[0].max() <= 1
    side = np.round(0.25 * (still.box[2:] - still.box[:2] + 1).max())
    side += side % 2
    np.testing.assert_allclose(moved.landmarks - still.landmarks, [[0.1 * side, -0.1 * side]] * 5, atol=1)
    np.testing.assert_array_equal(too_far.landmarks, still.landmarks)
    np.testing.assert_array_equal(still.landmarks, np.trunc(still.landmarks))


def test_a_way_to_find_faces_is_crop_or_full() -> None:
    assert insightface.finder("crop") is insightface.locate
    assert insightface.finder("full") is insightface.search
    with pytest.raises(ValueError, match="it must be crop or full"):
        insightface.finder("best")
