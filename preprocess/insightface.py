"""InsightFace's own use of the MTCNN networks on one face crop, as its ArcFace service ran it.

deepinsight/insightface at 3d7355f5, deploy/mtcnn_detector.py, `detect_face(img, det_type=1)`: the whole picture is
the only candidate, and the second and third networks refine it. Where the landmark network is at hand it moves
each point once more. Its roundings and corners (counted from 0) differ from those of `preprocess.mtcnn`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess import boxes as box
from preprocess.mtcnn import Array, Image, Networks, to_input

THRESHOLD_RNET, THRESHOLD_ONET = 0.0, 0.2  # UAI insightface_infer.py
MAX_MOVE = 0.35  # of the patch: a landmark that would move further stays

LandmarkNetwork = Callable[[Array], Array]
"""float32[n, 15, 24, 24] (five patches, RGB each) -> float32[n, 5, 2]: where in its patch a point lies, 0..1."""


@dataclass(frozen=True)
class Face:
    """box float64[4]: x1, y1, x2, y2; landmarks float64[5, 2]: x, y. Pixels, counted from 0."""

    box: box.Boxes
    landmarks: NDArray[np.float64]


def locate(image: Image, networks: Networks, lnet: LandmarkNetwork | None) -> Face | None:
    """The face that fills uint8[height, width, 3], RGB; None where the networks see none."""
    height, width = image.shape[:2]
    whole = np.array([[0.0, 0.0, width, height]])

    score, offset = networks.rnet(to_input(_patch(image, whole[0], 24)[None]))
    if not score[0] > THRESHOLD_RNET:
        return None
    candidate = np.round(box.square(box.regress(_inside(whole, image), offset), extent=1))

    score, offset, points = networks.onet(to_input(_patch(image, candidate[0], 48, np.float32)[None]))
    if not score[0] > THRESHOLD_ONET:
        return None
    candidate = _inside(candidate, image)
    extent = candidate[0, 2:] - candidate[0, :2] + 1
    landmarks = candidate[0, :2] + extent * points.reshape(2, 5).T
    found = box.regress(candidate, offset)[0]
    if lnet is not None:
        landmarks = _move(image, found, landmarks, lnet)
    return Face(found, landmarks)


def _move(image: Image, found: box.Boxes, landmarks: NDArray[np.float64], lnet: LandmarkNetwork) -> NDArray[np.float64]:
    """Landmarks float64[5, 2] after the landmark network has seen a patch around each; whole pixels, truncated."""
    side = np.round(0.25 * max(found[2] - found[0] + 1, found[3] - found[1] + 1))
    side += side % 2
    corners = np.round(landmarks - 0.5 * side)
    patches = [_patch(image, np.concatenate([at, at + side - 1]), 24, np.float32) for at in corners]
    moved = lnet(to_input(np.stack(patches)).reshape(1, 15, 24, 24))[0]
    moved[(np.abs(moved - 0.5) > MAX_MOVE).any(axis=1)] = 0.5
    return np.trunc(corners + moved * side)


def _patch(image: Image, corners: box.Boxes, size: int, dtype: type[np.uint8 | np.float32] = np.uint8) -> Image | Array:
    """Cut x1..x2, y1..y2 out of uint8[h, w, 3], black outside it, and scale it bilinearly: dtype[size, size, 3]."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = corners.astype(np.int64)
    cut = np.zeros((max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1), 3), dtype)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width - 1), min(y2, height - 1)
    if left <= right and top <= bottom:
        cut[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = image[top : bottom + 1, left : right + 1]
    return np.asarray(cv2.resize(cut, (size, size)), dtype)


def _inside(candidate: box.Boxes, image: Image) -> box.Boxes:
    """The box cut off at the picture's border: the original does so as a side effect of padding, and counts on it."""
    height, width = image.shape[:2]
    return np.clip(candidate, 0, [width - 1, height - 1, width - 1, height - 1])
