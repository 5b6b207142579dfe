"""Pictures and parts of them scaled as OpenCV's INTER_AREA does it, by loops that are several times as fast.

INTER_AREA gives each pixel of the result, a cell, the mean of the rectangle that it covers in the picture, whose edges
may cut pixels. So a row of cells is the weighted sum of the picture's rows that it covers, and a cell the weighted sum
of the pixels that it covers in that. Weights and sums have OpenCV's precision. The loops are those of
`preprocess.prepare.loops`.
"""

from pathlib import Path

import cv2
import numpy as np

from preprocess.boxes import Boxes
from preprocess.compiled import Library
from preprocess.pyramid import Array, Image
from preprocess.workers import Workers

FILE = "area.ll"
STRIP_BYTES = 1 << 20  # of a picture
FAR = 1e9  # pixels: where a box lies beyond, nothing is left to tell; a compiled loop's whole numbers end at 9e18


class Scaler:
    """The loops of a detector's directory."""

    def __init__(self, directory: Path) -> None:
        """Raises FileNotFoundError where they were not prepared."""
        library = Library(directory / FILE)
        self._shrink, self._cut = library.function("shrink"), library.function("cut")

    def shrink(self, image: Image, sizes: list[tuple[int, int]], workers: Workers) -> list[Image]:
        """A contiguous image, uint8[h, w, 3], made as small as each size, none of them larger: uint8[height, width, 3].

        A strip of it at a time goes into all results, while it is in the processor's cache; but into those of a whole
        number of pixels a cell the image goes at once.
        """
        if not sizes:
            return []
        ends = np.cumsum([height * width * 3 for height, width in sizes], dtype=np.int64)
        found = np.empty(ends[-1], np.uint8)
        made = [part.reshape(*size, 3) for part, size in zip(np.split(found, ends), sizes, strict=False)]
        rows, sides = _rows(image), sum(image.shape[:2])
        wanted = np.array(sizes, np.int64)
        if (wanted > image.shape[:2]).any():  # the loops' memory would not do
            raise ValueError(f"an image of {list(image.shape[:2])} cannot be made larger")
        strips = max(workers.threads, -(-image.nbytes // STRIP_BYTES))

        def fill(strip: int) -> None:
            covered, weights = np.empty((2, sides), np.int64), np.empty(3 * sides, np.float32)
            line = np.empty(6 * image.shape[1], np.float32)
            self._shrink(rows, wanted, found, strip, strips, covered, weights, line)

        for result, (height, width) in zip(made, sizes, strict=True):
            if not (image.shape[0] % height or image.shape[1] % width):  # OpenCV rounds these in a way of its own
                result[:] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        workers.map(fill, range(strips))
        return made

    def cut(self, image: Image, boxes: Boxes, size: int) -> Array:
        """Boxes float64[n, 4] of a contiguous image uint8[h, w, 3], black outside it: float32[n, 3, size, size], 0..255

        The boxes' corners are whole pixels and count from 1. Nothing is rounded. The time grows with the area of the
        boxes that lies in the image.
        """
        boxes = np.ascontiguousarray(boxes.clip(-FAR, FAR), np.float64).reshape(-1, 4)
        found = np.empty((len(boxes), 3, size, size), np.float32)
        cell = (boxes[:, 2:] - boxes[:, :2] + 1).max(initial=1) / size
        most = int(min(cell, max(image.shape[:2]))) + 2
        covered, weights = np.empty((2, 2 * size), np.int64), np.empty(2 * size * most, np.float32)
        line = np.empty(3 * (image.shape[1] + size), np.float32)
        self._cut(_rows(image), boxes, found, covered, weights, line)
        return found


def _rows(image: Image) -> Image:
    """uint8[h, w * 3]; a compiled loop believes what it is told."""
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"an image is uint8[h, w, 3], not {image.dtype}{list(image.shape)}")
    return image.reshape(len(image), -1)
