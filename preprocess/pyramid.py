"""The pyramid of ever smaller pictures, and what MTCNN's first network sees in it.

The network looks at 12 pixels of a level at a time, in steps of two, so that each level holds the faces of one size.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from preprocess import area
from preprocess.area import Image, Picture

Array = NDArray[np.float32]
Scanner = Callable[[Image], Array]
"""The first network: uint8[h, w, 3] of at least 11 pixels a side -> float32[5, h', w'], log-odds and offsets."""

STRIDE, CELL = 2, 12  # pixels of a level: between two outputs of the network, and seen by one
TILE = 128  # outputs, both sides, in one run: bounds memory, and the layers stay in the processor's cache


def scales(image: Image, min_face_size: float, factor: float) -> list[float]:
    """Factors of the levels, from the one where the smallest face is 12 pixels wide to the coarsest."""
    first = CELL / min_face_size
    shorter = min(image.shape[:2]) * first
    factors: list[float] = []
    while shorter >= CELL:
        factors.append(first * factor ** len(factors))
        shorter *= factor
    return factors


def levels(picture: Picture, factors: list[float], workers: Executor) -> list[Image]:
    """The picture scaled down by each factor, by area."""
    return list(workers.map(lambda factor: area.resize(picture, *size(picture.image, factor)), factors))


def size(image: Image, factor: float) -> tuple[int, int]:
    """Height and width of a level, rounded up."""
    height, width = image.shape[:2]
    return int(np.ceil(height * factor)), int(np.ceil(width * factor))


def scan(levels: list[Image], pnet: Scanner, workers: Executor, threshold: float) -> Iterator[Array]:
    """What passes in each level: float32[n, 7] of row, column, log-odds and offsets, row by row.

    threshold: the least probability.
    """
    with np.errstate(divide="ignore"):
        look = partial(_look, pnet, np.log(threshold) - np.log(1 - threshold))
    scans = [[workers.submit(look, level, *corner) for corner in _tiles(level)] for level in levels]
    for tiles in scans:
        cells = np.concatenate([tile.result() for tile in tiles])
        yield cells[np.lexsort((cells[:, 1], cells[:, 0]))]


def outputs(level: Image) -> tuple[int, int]:
    """How many rows and columns the network gives. At an odd border it sees 11 pixels of its 12."""
    height, width = level.shape[:2]
    return (height - CELL + 1) // STRIDE + 1, (width - CELL + 1) // STRIDE + 1


def seen(level: Image, row: int, column: int, count: int) -> Image:
    """The pixels that count x count outputs see."""
    span = (count - 1) * STRIDE + CELL
    return level[row * STRIDE : row * STRIDE + span, column * STRIDE : column * STRIDE + span]


def _tiles(level: Image) -> Iterator[tuple[int, int]]:
    """Row and column of the first output in each tile."""
    height, width = outputs(level)
    return product(range(0, height, TILE), range(0, width, TILE))


def _look(pnet: Scanner, least: float, level: Image, row: int, column: int) -> Array:
    """What passes in one tile."""
    answer = pnet(seen(level, row, column, TILE))
    rows, columns = np.nonzero(answer[0] >= least)
    return np.column_stack([rows + row, columns + column, answer[:, rows, columns].T]).astype(np.float32)
