"""Candidates cut out of a photo and scaled to what a network sees, as OpenCV's INTER_AREA does it, many at a time.

Scaling by area is linear: a patch is `rows @ cut @ columns`, where a weight says how much of a row of the patch lies in
a row of the picture. That product is the networks' first operation, so here the pixels are only gathered and weighed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from preprocess import area
from preprocess.area import Image, Picture
from preprocess.boxes import Boxes, Indices

Array = NDArray[np.float32]

PIXELS_AT_ONCE = 12 * 1024  # of patches in one run of a network: its layers stay in the processor's cache
LOOK_UP_FROM = 4  # times a patch's side: larger boxes are cheaper by the picture's integral
STEP = 8  # pixels: sides of cuts are multiples, so that the networks see few shapes


@dataclass(frozen=True)
class Patches:
    """What becomes float32[n, size, size, 3], 0..255, not rounded, when the product above is taken.

    cut: float32[n, p, q * 3], RGB, 0..255; rows: float32[n, size, p]; columns: float32[n, size, q].
    """

    cut: Array
    rows: Array
    columns: Array


def batches(boxes: Boxes, size: int, workers: int) -> list[Indices]:
    """Shares boxes out in batches of like sides, as many for each worker; the largest, which take longest, first."""
    order = np.argsort(boxes[:, 0] - boxes[:, 2], kind="stable")
    rounds = -(-len(order) * size**2 // (PIXELS_AT_ONCE * workers))
    return np.array_split(order, min(rounds * workers, len(order)))


def cut(picture: Picture, boxes: Boxes, size: int) -> Patches:
    """Patches of boxes float64[n, 4], in whole pixels, whose corners count from 1; black outside the picture."""
    begin, end = boxes[:, :2] - 1, boxes[:, 2:]
    side = int((end - begin).max())
    if side > LOOK_UP_FROM * size:
        cells = np.maximum(end - begin, 1) / size
        edges = begin[:, None] + np.arange(size + 1)[:, None] * cells[:, None]  # [n, size + 1, x and y]
        means = area.totals(picture.sums, edges[..., 1], edges[..., 0])
        means /= cells.prod(axis=1)[:, None, None].astype(np.float32)
        return whole(means.reshape(-1, size, size, 3))
    image = picture.image
    height, width = (min(-(-side // STEP) * STEP, length) for length in image.shape[:2])
    start = np.clip(begin, 0, (image.shape[1] - width, image.shape[0] - height))
    columns, rows = _weights((end - begin).T, (begin - start).T, size, max(height, width))
    left, top = start.T.astype(np.intp)
    cuts = _windows(image, height, width)[top, left].astype(np.float32)
    return Patches(cuts, rows[..., :height], columns[..., :width])


def whole(patches: Array) -> Patches:
    """Patches float32[n, size, size, 3] that are ready."""
    count, size = patches.shape[:2]
    same = np.broadcast_to(np.eye(size, dtype=np.float32), (count, size, size))
    return Patches(patches.reshape(count, size, -1), same, same)


def _windows(image: Image, height: int, width: int) -> Image:
    """All cuts of this size, by their top and left: a view uint8[tops, lefts, height, width * 3]."""
    down, right, colour = image.strides
    shape = (image.shape[0] - height + 1, image.shape[1] - width + 1, height, width * 3)
    return as_strided(image, shape, (down, right, down, colour), writeable=False)


def _weights(lengths: Boxes, begins: Boxes, size: int, width: int) -> Array:
    """How much of each cell lies in each pixel of a cut: float32[2, n, size, width], across and down.

    lengths, begins: float64[2, n], whole pixels, of the boxes, whose begin counts from that of the cut. Most boxes of
    a batch share theirs with another, so that few weights are computed.
    """
    kinds, kind = np.unique(begins + lengths * 1j, return_inverse=True)
    cells = np.maximum(kinds.imag, 1)[:, None] / size
    edges = (kinds.real[:, None] + np.arange(size + 1) * cells).astype(np.float32)
    inside = (edges[..., None] - np.arange(width, dtype=np.float32)).clip(0, 1)  # the part of a pixel before each edge
    weights = (inside[:, 1:] - inside[:, :-1]) / cells[..., None].astype(np.float32)
    return np.asarray(weights[kind.reshape(lengths.shape)], np.float32)
