"""MTCNN: faces and their five landmarks in a photo, by three networks in a cascade.

Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016, with
the roundings and the order of boxes of davidsandberg/facenet, src/align/detect_face.py. Networks are handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess import boxes as box
from preprocess.errors import InputError

Image = NDArray[np.uint8]
Array = NDArray[np.float32]

STRIDE, CELL = 2, 12  # pixels of a pyramid level: between two outputs of the first network, and seen by one
MEAN, SCALE = 127.5, 0.0078125  # a network sees (x - 127.5) / 128
MAX_CANDIDATES = 20_000  # of the first network, over all levels: bounds time and memory on hostile pictures


@dataclass(frozen=True)
class Networks:
    """The cascade's networks. Inputs are float32[n, 3, height, width], RGB, scaled to about -1..1.

    pnet: any size -> face probability [n, 1, h, w] and box offsets [n, 4, h, w], one every second pixel
    rnet: 24x24 -> probability [n], offsets [n, 4]
    onet: 48x48 -> probability [n], offsets [n, 4], landmarks [n, 10]: five x, then five y, as parts of the box
    """

    pnet: Callable[[Array], tuple[Array, Array]]
    rnet: Callable[[Array], tuple[Array, Array]]
    onet: Callable[[Array], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class Options:
    """What counts as a face."""

    min_face_size: float = 20.0  # pixels, shorter side
    threshold_pnet: float = 0.6  # probabilities, one a network
    threshold_rnet: float = 0.7
    threshold_onet: float = 0.7
    factor: float = 0.709  # between two levels of the pyramid

    def __post_init__(self) -> None:
        if not 12 <= self.min_face_size <= 5000:
            raise InputError("parameter_invalid", "min_face_size must lie in 12..5000 pixels")
        for name in ("threshold_pnet", "threshold_rnet", "threshold_onet"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError("parameter_invalid", f"{name} must lie in 0..1")
        if not 0.1 <= self.factor <= 0.9:
            raise InputError("parameter_invalid", "factor must lie in 0.1..0.9")


@dataclass(frozen=True)
class Faces:
    """boxes float32[n, 5]: x1, y1, x2, y2 in pixels and score; landmarks float32[n, 5, 2]: x, y. Best score first."""

    boxes: Array
    landmarks: Array


NO_FACES = Faces(np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))


def detect(image: Image, networks: Networks, options: Options) -> Faces:
    """All faces in uint8[height, width, 3], RGB."""
    candidates = propose(image, networks, options)
    if len(candidates):
        candidates = refine(image, candidates, networks, options)
    return output(image, candidates, networks, options) if len(candidates) else NO_FACES


def scales(height: int, width: int, options: Options) -> list[float]:
    """Factors of the pyramid's levels, from the one where the smallest face is 12 pixels wide to the coarsest."""
    first = CELL / options.min_face_size
    shorter = min(height, width) * first
    factors: list[float] = []
    while shorter >= CELL:
        factors.append(first * options.factor ** len(factors))
        shorter *= options.factor
    return factors


def propose(image: Image, networks: Networks, options: Options) -> box.Boxes:
    """First stage: candidate boxes float64[n, 4], square and in whole pixels, from the network's view of each level."""
    levels = [_propose_level(image, scale, networks, options) for scale in scales(*image.shape[:2], options)]
    if not levels:
        return np.empty((0, 4))
    found, scores, offsets = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    kept = box.nms(found, scores, 0.7)
    return np.fix(box.square(box.regress(found[kept], offsets[kept], extent=0)))


def _propose_level(image: Image, scale: float, networks: Networks, options: Options) -> tuple[box.Boxes, Array, Array]:
    height, width = (int(np.ceil(side * scale)) for side in image.shape[:2])
    level = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    probability, offsets = networks.pnet(to_input(level[None]))
    columns, rows = np.nonzero(probability[0, 0].T >= options.threshold_pnet)  # column by column, as the original
    score = probability[0, 0, rows, columns]
    if len(score) == 1:  # the original mirrors the offsets here; equal boxes need the same
        offset = offsets[0, :, rows, offsets.shape[3] - 1 - columns]
    else:
        offset = offsets[0, :, rows, columns]
    if len(score) > MAX_CANDIDATES:
        best = np.sort(np.argsort(-score, kind="stable")[:MAX_CANDIDATES])
        columns, rows, score, offset = columns[best], rows[best], score[best], offset[best]
    corner = np.stack([columns, rows], axis=1) * STRIDE
    found = np.fix(np.hstack([corner + 1, corner + CELL]) / scale)
    kept = box.nms(found, score, 0.5)
    return found[kept], score[kept], offset[kept]


def refine(image: Image, candidates: box.Boxes, networks: Networks, options: Options) -> box.Boxes:
    """Second stage: fewer and better candidates, in whole pixels."""
    probability, offsets = networks.rnet(to_input(patches(image, candidates, 24)))
    passed = probability > options.threshold_rnet
    candidates, scores, offsets = candidates[passed], probability[passed], offsets[passed]
    kept = box.nms(candidates, scores, 0.7)
    return np.fix(box.square(box.regress(candidates[kept], offsets[kept])))


def output(image: Image, candidates: box.Boxes, networks: Networks, options: Options) -> Faces:
    """Third stage: boxes, scores and landmarks."""
    probability, offsets, landmarks = networks.onet(to_input(patches(image, candidates, 48)))
    passed = probability > options.threshold_onet
    candidates, scores = candidates[passed], probability[passed]
    extent = candidates[:, 2:] - candidates[:, :2] + 1
    points = landmarks[passed].reshape(-1, 2, 5).transpose(0, 2, 1) * extent[:, None] + candidates[:, None, :2] - 1
    found = box.regress(candidates, offsets[passed])
    kept = box.nms(found, scores, 0.7, over_smaller=True)
    return Faces(np.column_stack([found, scores])[kept].astype(np.float32), points[kept].astype(np.float32))


def patches(image: Image, candidates: box.Boxes, size: int) -> Array:
    """Cut each box (corners count from 1) out of the picture, black outside it, and scale it to size x size.

    Returns float32[n, size, size, 3], 0..255, not rounded.
    """
    height, width = image.shape[:2]
    found = np.zeros((len(candidates), size, size, 3), np.float32)
    for patch, (x1, y1, x2, y2) in zip(found, candidates.astype(np.int64), strict=True):
        left, top, right, bottom = max(x1, 1), max(y1, 1), min(x2, width), min(y2, height)
        if left > right or top > bottom:
            continue
        cut = np.zeros((y2 - y1 + 1, x2 - x1 + 1, 3), np.float32)
        cut[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = image[top - 1 : bottom, left - 1 : right]
        cv2.resize(cut, (size, size), dst=patch, interpolation=cv2.INTER_AREA)
    return found


def to_input(pictures: NDArray[np.uint8] | Array) -> Array:
    """[n, h, w, 3], 0..255, to what the networks see: float32[n, 3, h, w]."""
    scaled = (pictures.transpose(0, 3, 1, 2).astype(np.float32) - np.float32(MEAN)) * np.float32(SCALE)
    return np.ascontiguousarray(scaled)
