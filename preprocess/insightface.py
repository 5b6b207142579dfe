"""InsightFace's own use of the MTCNN networks, as its ArcFace service ran it, on a face crop or on any photo.

deepinsight/insightface at 3d7355f5, deploy/mtcnn_detector.py, `detect_face`. Its roundings, its bilinear scaling and
its corners (counted from 0) differ from those of `preprocess.mtcnn`. Where the landmark network is at hand it moves
each point once more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess import boxes as box
from preprocess import cascade, pyramid
from preprocess.cascade import Networks
from preprocess.pyramid import Array, Image

Points = NDArray[np.float64]
Pixel = TypeVar("Pixel", np.uint8, np.float32)

CROP_THRESHOLDS = (0.0, 0.2)  # of rnet and onet: UAI insightface_infer.py
FULL = cascade.Options(threshold_onet=0.8)
MAX_MOVE = 0.35  # of the patch: a landmark that would move further stays
LARGE = 2000  # pixels, of a cut's side

LandmarkNetwork = Callable[[Array], Array]
"""float32[n, 15, 24, 24] (five patches, RGB, scaled) -> float32[n, 5, 2]: where in its patch a point lies, 0..1."""


@dataclass(frozen=True)
class Face:
    """box float64[4]: x1, y1, x2, y2; landmarks float64[5, 2]: x, y. Pixels, counted from 0."""

    box: box.Boxes
    landmarks: Points


Finder = Callable[[Image, Networks, LandmarkNetwork | None], Face | None]


def finder(detection: str) -> Finder:
    """`locate` for "crop", `search` for "full".

    Raises:
        ValueError: there is no such way.
    """
    finders: dict[str, Finder] = {"crop": locate, "full": search}
    if detection not in finders:
        raise ValueError(f"DETECTION is {detection!r}; it must be crop or full")
    return finders[detection]


def locate(image: Image, networks: Networks, lnet: LandmarkNetwork | None) -> Face | None:
    """The face that fills uint8[height, width, 3], RGB (`det_type=1`); None where the networks see none.

    The whole picture is the only candidate, and the second and third networks refine it.
    """
    height, width = image.shape[:2]
    return _best(image, np.array([[0.0, 0.0, width, height]]), CROP_THRESHOLDS, networks, lnet)


def search(image: Image, networks: Networks, lnet: LandmarkNetwork | None) -> Face | None:
    """The surest face in a photo uint8[height, width, 3], RGB (`det_type=0`); None where the networks see none."""
    return _best(image, _propose(image, networks), (FULL.threshold_rnet, FULL.threshold_onet), networks, lnet)


def _propose(image: Image, networks: Networks) -> box.Boxes:
    """First stage: candidates float64[n, 4], square and in whole pixels."""
    factors = pyramid.scales(image, FULL.min_face_size, FULL.factor)
    if factors and min(image.shape[:2]) * factors[-1] <= pyramid.CELL:  # exactly one cell counts as too small here
        factors.pop()
    levels = [_scaled(image, *pyramid.size(image, factor)) for factor in factors]
    cells = pyramid.scan(levels, networks.pnet, networks.workers, FULL.threshold_pnet)
    corners = cells.corners() + 1
    found = np.round(np.hstack([corners, corners + pyramid.CELL]) / np.array(factors)[cells.level, None])
    scores = cascade.probability(cells.log_odds)
    kept = box.nms_by_group(found, scores, cells.level, 0.5)
    found, scores, offsets = cascade.best(found[kept], scores[kept], cells.offsets[kept])
    kept = box.nms(found, scores, 0.7)
    return np.round(box.square(box.regress(found[kept], offsets[kept]), extent=1))


def _best(
    image: Image,
    candidates: box.Boxes,
    thresholds: tuple[float, float],
    networks: Networks,
    lnet: LandmarkNetwork | None,
) -> Face | None:
    """Second and third stage, and the best of what is left."""

    def view(network: cascade.PatchNetwork, size: int, dtype: type[Pixel]) -> Array:
        return cascade.view(candidates, network, size, partial(_patches, image, size=size, dtype=dtype), networks)

    if not len(candidates):
        return None
    numbers = view(networks.rnet, 24, np.uint8)
    scores = cascade.probability(numbers[:, 0])
    passed = scores > thresholds[0]
    candidates, offsets = _inside(candidates[passed], image), numbers[passed, 1:]
    kept = box.nms(candidates, scores[passed], 0.7)
    candidates = np.round(box.square(box.regress(candidates[kept], offsets[kept]), extent=1))

    if not len(candidates):
        return None
    numbers = view(networks.onet, 48, np.float32)
    scores = cascade.probability(numbers[:, 0])
    passed = scores > thresholds[1]
    candidates, offsets, points = _inside(candidates[passed], image), numbers[passed, 1:5], numbers[passed, 5:]
    found = box.regress(candidates, offsets)
    kept = box.nms(found, scores[passed], 0.7, over_smaller=True)[:1]
    if not len(kept):
        return None
    best = kept[0]
    extent = candidates[best, 2:] - candidates[best, :2] + 1
    landmarks = candidates[best, :2] + extent * points[best].reshape(2, 5).T
    if lnet is not None:
        landmarks = _move(image, found[best], landmarks, lnet)
    return Face(found[best], landmarks)


def _patches(image: Image, candidates: box.Boxes, size: int, dtype: type[Pixel]) -> Array:
    """float32[n, 3, size, size], 0..255."""
    cut = [_patch(image, corners, size, dtype) for corners in candidates]
    return np.stack(cut).transpose(0, 3, 1, 2).astype(np.float32, order="C")


def _move(image: Image, found: box.Boxes, landmarks: Points, lnet: LandmarkNetwork) -> Points:
    """Landmarks float64[5, 2] after the landmark network has seen a patch around each; whole pixels, truncated."""
    side = np.round(0.25 * max(found[2] - found[0] + 1, found[3] - found[1] + 1))
    side += side % 2
    corners = np.round(landmarks - 0.5 * side)
    cut = np.stack([_patch(image, np.concatenate([at, at + side - 1]), 24, np.float32) for at in corners])
    seen = np.ascontiguousarray((cut.transpose(0, 3, 1, 2) - cascade.MEAN) * cascade.SCALE, np.float32)
    moved = lnet(seen.reshape(1, 15, 24, 24))[0]
    moved[(np.abs(moved - 0.5) > MAX_MOVE).any(axis=1)] = 0.5
    return np.asarray(np.trunc(corners + moved * side), np.float64)


def _patch(image: Image, corners: box.Boxes, size: int, dtype: type[Pixel]) -> NDArray[Pixel]:
    """Cut x1..x2, y1..y2 out of uint8[h, w, 3], black outside it, and scale it bilinearly: dtype[size, size, 3]."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = corners.astype(np.int64)
    if max(x2 - x1, y2 - y1) >= LARGE:
        return _sampled(image, np.array([x1, y1, x2, y2], np.float64), size, dtype)
    cut = np.zeros((max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1), 3), dtype)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width - 1), min(y2, height - 1)
    if left <= right and top <= bottom:
        cut[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = image[top : bottom + 1, left : right + 1]
    return _scaled(cut, size, size)


def _sampled(image: Image, corners: box.Boxes, size: int, dtype: type[Pixel]) -> NDArray[Pixel]:
    """What `_patch` gives, but for the last digits, without memory for a cut far larger than the picture."""

    def places(first: float, last: float, most: int) -> tuple[Points, Points, Points]:
        extent = last - first + 1
        place = np.clip((np.arange(size) + 0.5) * extent / size - 0.5, 0, extent - 1)
        low = np.floor(place)
        ends = np.stack([low, np.minimum(low + 1, extent - 1)]) + first
        return ends.clip(0, most - 1), (ends >= 0) & (ends < most), place - low

    rows, inside_y, y = places(corners[1], corners[3], image.shape[0])
    columns, inside_x, x = places(corners[0], corners[2], image.shape[1])
    shares = np.stack([1 - y, y]) * inside_y, np.stack([1 - x, x]) * inside_x
    at = rows.astype(np.int64)[:, None, :, None], columns.astype(np.int64)[None, :, None, :]
    found = np.einsum("ay,bx,abyxc->yxc", *shares, image[at].astype(np.float64))
    return np.asarray(np.round(found) if dtype is np.uint8 else found, dtype)


def _inside(candidates: box.Boxes, image: Image) -> box.Boxes:
    """Boxes cut off at the picture's border: the original does so as a side effect of padding, and counts on it."""
    last = np.array(image.shape[1::-1]) - 1
    return np.clip(candidates, 0, np.concatenate([last, last]))


def _scaled(image: NDArray[Pixel], height: int, width: int) -> NDArray[Pixel]:
    return cv2.resize(image, (width, height)).astype(image.dtype, copy=False)
