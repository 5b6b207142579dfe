"""Mean colours of rectangles, as OpenCV's INTER_AREA has them, at a cost that does not grow with the rectangle.

INTER_AREA gives each pixel of the smaller picture the mean of the rectangle that it covers in the larger one, whose
edges may cut pixels. The integral of the picture, interpolated between its corners, gives that mean in four look-ups.
"""

from threading import Lock
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Integral = NDArray[np.int32]
Edges = NDArray[np.float64]
Number = TypeVar("Number", np.int32, np.float32)

SLIVER = 1e-3  # of a pixel: OpenCV leaves thinner parts out
PAYS_FROM, PAYS_ABOVE = 10, 30_000  # pixels a cell, pixels in all: from here on look-ups beat OpenCV's sums
AT_ONCE = 16_000  # pixels of a resized picture: few calls for a small one, and what is in hand stays in the cache


class Picture:
    """uint8[height, width, 3] and the integral of it, which is made when it is first asked for."""

    def __init__(self, image: Image) -> None:
        self.image = np.ascontiguousarray(image)  # `preprocess.patches` counts on it
        self._making = Lock()
        self._sums: Integral | None = None

    @property
    def sums(self) -> Integral:
        """Sums of all pixels above and to the left: int32[height + 1, width + 1, 3].

        Above 8 million pixels they wrap around, which differences of them undo.
        """
        with self._making:
            if self._sums is None:
                self._sums = np.asarray(cv2.integral(self.image, sdepth=cv2.CV_32S), np.int32)
            return self._sums


def resize(picture: Picture, height: int, width: int) -> Image:
    """A picture made smaller, uint8[height, width, 3]: what cv2.resize gives with INTER_AREA."""
    image = picture.image
    if not looked_up(image, height, width):
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    cells = image.shape[0] / height * (image.shape[1] / width)
    rows, row = _edges(image.shape[0], height)
    columns, column = _edges(image.shape[1], width)
    found = np.empty((height, width, 3), np.uint8)
    step = -(-AT_ONCE // width)
    for start in range(0, height, step):
        part = row[start : start + step]
        gaps = totals(picture.sums, rows[part[0] : part[-1] + 2], columns).reshape(part[-1] + 1 - part[0], -1, 3)
        if len(gaps) > len(part):  # slivers between the rows
            gaps = gaps.take(part - part[0], axis=0)
        if gaps.shape[1] > width:
            gaps = gaps.take(column, axis=1)
        found[start : start + step] = np.rint(gaps / cells)
    return found


def looked_up(image: Image, height: int, width: int) -> bool:
    """Tells whether `resize` looks the means up, or asks OpenCV."""
    shrink = image.shape[0] / height, image.shape[1] / width
    whole = all(ratio.is_integer() for ratio in shrink)  # OpenCV has a fast way of its own for these
    return not whole and shrink[0] * shrink[1] >= PAYS_FROM + PAYS_ABOVE / (height * width)


def totals(sums: Integral, rows: Edges, columns: Edges) -> NDArray[np.float32]:
    """Sum of the colours in each cell of a grid; what lies outside the picture is black.

    rows: float64[..., m + 1], columns: float64[..., n + 1], edges of the cells in pixels -> float32[..., m, n * 3].
    """
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    top, below = _split(rows, height)
    left, right = _split(columns, width)
    corner = top[..., :, None] * (width + 1) + left[..., None, :]
    flat = sums.reshape(-1, 3)
    below, right = below[..., :, None].astype(np.float32), np.repeat(right, 3, axis=-1)[..., None, :].astype(np.float32)
    grid = (*corner.shape[:-1], -1)

    def look_up(step: int) -> NDArray[np.int32]:
        return flat[step:].take(corner, axis=0).reshape(grid)

    at, to_right, to_below = look_up(0), look_up(1), look_up(width + 1)
    to_right -= at  # the pixel columns that the edges cut, from the top down to them
    to_below -= at
    pixel = look_up(width + 2)
    pixel -= at
    pixel -= to_right
    pixel -= to_below
    found = _down(_across(at)).astype(np.float32)
    found += _across(_down(to_right).astype(np.float32) * right)
    found += _down((_across(to_below).astype(np.float32) + _across(pixel.astype(np.float32) * right)) * below)
    return found


def _down(corners: NDArray[Number]) -> NDArray[Number]:
    return np.subtract(corners[..., 1:, :], corners[..., :-1, :])


def _across(corners: NDArray[Number]) -> NDArray[Number]:
    return np.subtract(corners[..., 3:], corners[..., :-3])


def _split(edges: Edges, end: int) -> tuple[NDArray[np.intp], Edges]:
    """Each edge as a pixel's index, 0..end - 1, and how far into that pixel it lies, 0..1."""
    inside = np.clip(edges, 0, end)
    pixel = np.minimum(inside.astype(np.intp), end - 1)
    return pixel, inside - pixel


def _edges(length: int, cells: int) -> tuple[Edges, NDArray[np.intp]]:
    """Edges of `cells` equal cells, and of slivers between them, and at which edge each cell begins."""
    at = np.arange(cells + 1) * (length / cells)
    up, down = np.ceil(at), np.floor(at)
    begin = np.where(up - at <= SLIVER, up, at)[:-1]
    end = np.minimum(np.where(at - down <= SLIVER, down, at)[1:], length)
    edges = np.union1d(begin, end)
    return edges, np.searchsorted(edges, begin)
