"""The pyramid of ever smaller pictures, and what MTCNN's first network sees in it.

The network looks at 12 pixels of a level at a time, in steps of two, so that each level holds the faces of one size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from preprocess.boxes import Indices
from preprocess.workers import Workers

Image = NDArray[np.uint8]
Array = NDArray[np.float32]
Scanner = Callable[[Image], Array]
"""The first network: uint8[h, w, 3] of at least 11 pixels a side -> float32[5, h', w'], log-odds and offsets."""

STRIDE, CELL = 2, 12  # pixels of a level: between two outputs of the network, and seen by one
TILE = 96  # outputs, both sides, in one run: bounds memory, and the layers stay in the processor's cache
MAX_CELLS = 20_000  # that pass, of a level: bounds time and memory on hostile pictures


@dataclass(frozen=True)
class Cells:
    """Outputs of the network that passed: level, row and column intp[n], log_odds float32[n], offsets float32[n, 4]."""

    level: Indices
    row: Indices
    column: Indices
    log_odds: Array
    offsets: Array

    def corners(self) -> NDArray[np.float64]:
        """Left and top of what each one sees, in pixels of its level: float64[n, 2]."""
        return np.stack([self.column, self.row], axis=1) * float(STRIDE)


def scales(image: Image, min_face_size: float, factor: float) -> list[float]:
    """Factors of the levels, from the one where the smallest face is 12 pixels wide to the coarsest."""
    first = CELL / min_face_size
    shorter = min(image.shape[:2]) * first
    factors: list[float] = []
    while shorter >= CELL:
        factors.append(first * factor ** len(factors))
        shorter *= factor
    return factors


def size(image: Image, factor: float) -> tuple[int, int]:
    """Height and width of a level, rounded up."""
    height, width = image.shape[:2]
    return int(np.ceil(height * factor)), int(np.ceil(width * factor))


def scan(levels: list[Image], pnet: Scanner, workers: Workers, threshold: float) -> Cells:
    """What passes in all levels, level by level, row by row. threshold: the least probability."""
    with np.errstate(divide="ignore"):
        look = partial(_look, pnet, np.log(threshold) - np.log(1 - threshold))
    tiles = [(number, corner) for number, level in enumerate(levels) for corner in _tiles(level)]
    answers: list[list[Array]] = [[] for _ in levels]
    for (number, _), answer in zip(
        tiles, workers.map(lambda tile: look(levels[tile[0]], *tile[1]), tiles), strict=True
    ):
        answers[number].append(answer)
    found = [_best(np.concatenate(parts)) for parts in answers]
    level = np.repeat(np.arange(len(found)), [len(cells) for cells in found])
    cells = np.concatenate([np.empty((0, 7), np.float32), *found])
    row, column = cells[:, :2].astype(np.intp).T
    order = np.lexsort((column, row, level))
    return Cells(level[order], row[order], column[order], cells[order, 2], cells[order, 3:])


def _best(cells: Array) -> Array:
    """At most MAX_CELLS, those of best score."""
    return cells if len(cells) <= MAX_CELLS else cells[np.argsort(-cells[:, 2], kind="stable")[:MAX_CELLS]]


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
    """What passes in one tile: float32[n, 7] of row, column, log-odds and offsets."""
    answer = pnet(seen(level, row, column, TILE))
    rows, columns = np.nonzero(answer[0] >= least)
    return np.column_stack([rows + row, columns + column, answer[:, rows, columns].T]).astype(np.float32)
