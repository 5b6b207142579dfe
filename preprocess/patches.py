"""Candidates cut out of a photo and scaled to what a network sees, as OpenCV's INTER_AREA does it, many at a time.

Scaling by area is linear: a patch is `rows @ cut @ columns`, where a weight says how much of a row of the patch lies in
a row of the picture. That product is the networks' first operation, so here the pixels are only gathered and weighed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from preprocess import area
from preprocess.area import Picture
from preprocess.boxes import Boxes, Indices

Array = NDArray[np.float32]

PIXELS_AT_ONCE = 12 * 1024  # of patches in one run of a network: its layers stay in the processor's cache
LOOK_UP_FROM = 5  # times a patch's side: larger boxes are cheaper by the picture's integral
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
    """Shares boxes out in batches of like sides, as many for each worker."""
    order = np.argsort(boxes[:, 2] - boxes[:, 0], kind="stable")
    rounds = -(-len(order) * size**2 // (PIXELS_AT_ONCE * workers))
    return np.array_split(order, min(rounds * workers, len(order)))


def cut(picture: Picture, boxes: Boxes, size: int) -> Patches:
    """Patches of boxes float64[n, 4], in whole pixels, whose corners count from 1; black outside the picture."""
    begin, end = boxes[:, :2] - 1, boxes[:, 2:]
    cells = np.maximum(end - begin, 1) / size
    edges = begin[:, None] + np.arange(size + 1)[:, None] * cells[:, None]  # [n, size + 1, x and y]
    side = int((end - begin).max())
    if side > LOOK_UP_FROM * size:
        means = area.totals(picture.sums, edges[..., 1], edges[..., 0]) / cells.prod(axis=1)[:, None, None].astype(
            np.float32
        )
        return whole(means.reshape(-1, size, size, 3))
    image = picture.image
    height, width = (min(-(-side // STEP) * STEP, length) for length in image.shape[:2])
    left, top = np.clip(begin, 0, np.array(image.shape[1::-1]) - (width, height)).astype(np.intp).T
    windows = sliding_window_view(image.reshape(len(image), -1), (height, width * 3))
    return Patches(
        windows[top, left * 3].astype(np.float32),
        _weights(edges[..., 1], cells[:, 1], top, height),
        _weights(edges[..., 0], cells[:, 0], left, width),
    )


def whole(patches: Array) -> Patches:
    """Patches float32[n, size, size, 3] that are ready."""
    count, size = patches.shape[:2]
    same = np.broadcast_to(np.eye(size, dtype=np.float32), (count, size, size))
    return Patches(patches.reshape(count, size, -1), same, same)


def _weights(edges: area.Edges, cells: Boxes, start: Indices, length: int) -> Array:
    """How much of each cell lies in each pixel from `start` on: float32[n, size, length].

    edges: float64[n, size + 1], of the cells; cells: float64[n], their length.
    """
    inside = (edges - start[:, None]).astype(np.float32)[..., None] - np.arange(length, dtype=np.float32)
    np.clip(inside, 0, 1, out=inside)  # the part of each pixel before each edge
    weights = inside[:, 1:] - inside[:, :-1]
    weights /= cells[:, None, None].astype(np.float32)
    return weights
