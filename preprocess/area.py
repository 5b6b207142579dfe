"""Pictures and parts of them scaled as OpenCV's INTER_AREA does it, by loops that are several times as fast.

INTER_AREA gives each pixel of the result, a cell, the mean of the rectangle that it covers in the picture, whose edges
may cut pixels. So a row of cells is the weighted sum of the picture's rows that it covers, and a cell the weighted sum
of the pixels that it covers in that. Weights and sums have OpenCV's precision.
"""

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.boxes import Boxes
from preprocess.pyramid import Array, Image
from preprocess.workers import Workers

Indices = NDArray[np.int64]

PIXELS = "Array(uint8, 2, 'C', readonly=True)"  # the compiler's word for what may be read only
SLIVER = 1e-3  # of a pixel: OpenCV leaves thinner parts of a larger picture out
STRIP_BYTES = 1 << 20  # of a picture
FAR = 1e9  # pixels: where a box lies beyond, nothing is left to tell; a compiled loop's whole numbers end at 9e18


def shrink(image: Image, sizes: list[tuple[int, int]], workers: Workers) -> list[Image]:
    """The image, uint8[h, w, 3], contiguous, made as small as each size, none of them larger: uint8[height, width, 3].

    A strip of it at a time goes into all results, while it is in the processor's cache; but into those of a whole
    number of pixels a cell the image goes at once.
    """
    made = [np.empty((*size, 3), np.uint8) for size in sizes]
    strips = max(workers.threads, -(-image.nbytes // STRIP_BYTES))

    def fill(strip: int) -> None:
        for found in made:
            height, width = found.shape[:2]
            begin, end = height * strip // strips, height * (strip + 1) // strips
            if begin == end:
                continue
            if image.shape[0] % height or image.shape[1] % width:
                _shrink(_rows(image), _rows(found), begin, end)
            elif begin == 0:  # OpenCV rounds means of whole pixels in a way of its own
                found[:] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    workers.map(fill, range(strips))
    return made


def cut(image: Image, boxes: Boxes, size: int) -> Array:
    """Boxes float64[n, 4] cut out of uint8[h, w, 3], black outside it, and scaled: float32[n, 3, size, size], 0..255.

    The image is contiguous. The boxes' corners are whole pixels and count from 1. Nothing is rounded. The time grows
    with the area of the boxes that lies in the image.
    """
    found = np.empty((len(boxes), 3, size, size), np.float32)
    _cut(_rows(image), np.ascontiguousarray(boxes.clip(-FAR, FAR)), found)
    return found


def _rows(image: Image) -> Image:
    return image.reshape(len(image), -1)


@njit(error_model="numpy")
def _shares(begin: float, cell: float, count: int, length: int, sliver: float) -> tuple[Indices, Indices, Array]:
    """Of each of so many cells in a row: the first pixel it covers, the one after the last, and how much of the cell
    lies in each. What lies outside 0..length is left out."""
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    weights = np.empty((count, min(int(cell), length) + 2), np.float32)
    for place in range(count):
        start = begin + place * cell
        stop = start + cell
        if np.ceil(start) - start <= sliver:
            start = np.ceil(start)
        if stop - np.floor(stop) <= sliver:
            stop = np.floor(stop)
        first[place] = min(max(int(np.floor(start)), 0), length)
        last[place] = max(min(int(np.ceil(stop)), length), first[place])
        for pixel in range(first[place], last[place]):
            weights[place, pixel - first[place]] = (min(stop, pixel + 1) - max(start, pixel)) / cell
    return first, last, weights


@njit(error_model="numpy")
def _add_up(rows: Image, weights: Array, total: Array) -> None:
    """total float32[w] becomes the sum of rows uint8[n, w], weighted by float32[n]."""
    total[:] = 0
    for row in range(len(rows)):
        pixels, weight = rows[row], weights[row]
        for at in range(len(total)):
            total[at] += weight * np.float32(pixels[at])


@njit(error_model="numpy")
def _means(line: Array, first: Indices, last: Indices, weights: Array, found: Array) -> None:
    """found float32[n * 3] becomes the weighted sums of pixels first..last of a line float32[w * 3], by colour."""
    for cell in range(len(first)):
        red = green = blue = np.float32(0)
        for pixel in range(first[cell], last[cell]):
            weight = weights[cell, pixel - first[cell]]
            red += weight * line[3 * pixel]
            green += weight * line[3 * pixel + 1]
            blue += weight * line[3 * pixel + 2]
        found[3 * cell] = red
        found[3 * cell + 1] = green
        found[3 * cell + 2] = blue


@njit(f"void({PIXELS}, uint8[:, ::1], int64, int64)", nogil=True, error_model="numpy")
def _shrink(image: Image, found: Image, begin: int, end: int) -> None:
    height, width = len(found), found.shape[1] // 3
    top, bottom, down = _shares(0.0, len(image) / height, height, len(image), SLIVER)
    left, right, across = _shares(0.0, image.shape[1] / found.shape[1], width, image.shape[1] // 3, SLIVER)
    line, means = np.empty(image.shape[1], np.float32), np.empty(found.shape[1], np.float32)
    for row in range(begin, end):
        _add_up(image[top[row] : bottom[row]], down[row], line)
        _means(line, left, right, across, means)
        for at in range(len(means)):
            found[row, at] = np.rint(means[at])


@njit(f"void({PIXELS}, float64[:, ::1], float32[:, :, :, ::1])", nogil=True, error_model="numpy")
def _cut(image: Image, boxes: Boxes, found: Array) -> None:
    size = found.shape[2]
    means = np.empty(3 * size, np.float32)
    for number in range(len(boxes)):
        x1, y1, x2, y2 = boxes[number]
        top, bottom, down = _shares(y1 - 1, max(y2 - y1 + 1, 1.0) / size, size, len(image), 0.0)
        left, right, across = _shares(x1 - 1, max(x2 - x1 + 1, 1.0) / size, size, image.shape[1] // 3, 0.0)
        begin, end = left[0], right[-1]
        line = np.empty(3 * (end - begin), np.float32)
        left -= begin
        right -= begin
        for row in range(size):
            _add_up(image[top[row] : bottom[row], 3 * begin : 3 * end], down[row], line)
            _means(line, left, right, across, means)
            for colour in range(3):
                for column in range(size):
                    found[number, colour, row, column] = means[3 * column + colour]
