"""MTCNN: faces and their five landmarks in a photo, by three networks in a cascade.

Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016, with
the roundings and the order of boxes of davidsandberg/facenet, src/align/detect_face.py.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from preprocess import boxes as box
from preprocess import networks, pyramid
from preprocess.area import Scaler
from preprocess.cascade import Networks, Options, best, probability, view
from preprocess.pyramid import Array, Image


@dataclass(frozen=True)
class Detector:
    """What finds faces: the networks, and what makes pictures small and cuts patches out of them."""

    networks: Networks
    scaler: Scaler


@dataclass(frozen=True)
class Faces:
    """boxes float32[n, 5]: x1, y1, x2, y2 in pixels and score; landmarks float32[n, 5, 2]: x, y. Best score first."""

    boxes: Array
    landmarks: Array


NO_FACES = Faces(np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))


def load(directory: Path, threads: int) -> Detector:
    """The detector whose networks and compiled loops lie in a directory, on so many threads.

    Raises FileNotFoundError where they are not prepared.
    """
    return Detector(networks.load(directory, threads), Scaler(directory))


def detect(image: Image, detector: Detector, options: Options) -> Faces:
    """All faces in uint8[height, width, 3], RGB."""
    image = np.ascontiguousarray(image)
    candidates = propose(image, detector, options)
    if len(candidates):
        candidates = refine(image, candidates, detector, options)
    return output(image, candidates, detector, options) if len(candidates) else NO_FACES


def propose(image: Image, detector: Detector, options: Options) -> box.Boxes:
    """First stage: candidate boxes float64[n, 4], square and in whole pixels, from the network's view of each level."""
    pnet, workers = detector.networks.pnet, detector.networks.workers
    factors = pyramid.scales(image, options.min_face_size, options.factor)
    levels = detector.scaler.shrink(image, [pyramid.size(image, factor) for factor in factors], workers)
    cells = pyramid.scan(levels, pnet, workers, options.threshold_pnet)
    order = np.lexsort((cells.row, cells.column, cells.level))  # column by column
    corners, scale = cells.corners()[order], np.array(factors)[cells.level[order], None]
    found = np.fix(np.hstack([corners + 1, corners + pyramid.CELL]) / scale)
    scores = probability(cells.log_odds[order])
    offsets = _as_the_original(cells, levels, pnet)[order]
    kept = box.nms_by_group(found, scores, cells.level[order], 0.5)
    found, scores, offsets = best(found[kept], scores[kept], offsets[kept])
    kept = box.nms(found, scores, 0.7)
    return np.fix(box.square(box.regress(found[kept], offsets[kept], extent=0)))


def refine(image: Image, candidates: box.Boxes, detector: Detector, options: Options) -> box.Boxes:
    """Second stage: fewer and better candidates, in whole pixels."""
    numbers = view(
        candidates, detector.networks.rnet, 24, partial(detector.scaler.cut, image, size=24), detector.networks
    )
    scores = probability(numbers[:, 0])
    passed = scores > options.threshold_rnet
    candidates, offsets = candidates[passed], numbers[passed, 1:]
    kept = box.nms(candidates, scores[passed], 0.7)
    return np.fix(box.square(box.regress(candidates[kept], offsets[kept])))


def output(image: Image, candidates: box.Boxes, detector: Detector, options: Options) -> Faces:
    """Third stage: boxes, scores and landmarks."""
    numbers = view(
        candidates, detector.networks.onet, 48, partial(detector.scaler.cut, image, size=48), detector.networks
    )
    scores = probability(numbers[:, 0])
    passed = scores > options.threshold_onet
    candidates, scores, offsets, points = candidates[passed], scores[passed], numbers[passed, 1:5], numbers[passed, 5:]
    extent = candidates[:, 2:] - candidates[:, :2] + 1
    landmarks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * extent[:, None] + candidates[:, None, :2] - 1
    found = box.regress(candidates, offsets)
    kept = box.nms(found, scores, 0.7, over_smaller=True)
    return Faces(np.column_stack([found, scores])[kept].astype(np.float32), landmarks[kept].astype(np.float32))


def _as_the_original(cells: pyramid.Cells, levels: list[Image], pnet: pyramid.Scanner) -> Array:
    """Offsets of the cells. For the only one of its level the original mirrors the columns that it reads them from."""
    offsets = cells.offsets.copy()
    for level in np.flatnonzero(np.bincount(cells.level) == 1):
        only = np.searchsorted(cells.level, level)
        mirrored = pyramid.outputs(levels[level])[1] - 1 - cells.column[only]
        offsets[only] = pnet(pyramid.seen(levels[level], cells.row[only], mirrored, 1))[1:, 0, 0]
    return offsets
