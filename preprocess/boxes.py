"""Arithmetic of face boxes: float64[n, 4+] with x1, y1, x2, y2 in pixels, both corners inside the box."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Indices = NDArray[np.intp]

PAIRS_AT_ONCE = 1 << 20  # of boxes to compare: bounds memory, about 40 MB
FEW = 40  # boxes: comparing all pairs is quicker than choosing which
PAIRS = np.stack(np.tril_indices(FEW, -1))  # of few boxes: those of the first n come first


def nms(boxes: Boxes, scores: NDArray[np.floating[Any]], threshold: float, over_smaller: bool = False) -> Indices:
    """Indices of the boxes kept by non-maximum suppression, by falling score.

    A box goes when its intersection with a better one that is kept, over their union (or over the smaller of the
    two), is above the threshold. Boxes of equal score are taken last first, as the original does.
    """
    order = np.argsort(scores, kind="stable")[::-1]
    better, worse = _overlapping(boxes[order, :4], threshold, over_smaller)
    kept = np.ones(len(order), bool)
    undecided = kept.copy()
    while better.size:  # every round decides all boxes that no better undecided one overlaps, and what they suppress
        winners = undecided.copy()
        winners[worse] = False
        losers = worse[winners[better]]
        kept[losers] = False
        undecided[losers] = False
        undecided &= ~winners
        left = undecided[better] & undecided[worse]
        better, worse = better[left], worse[left]
    return np.asarray(order[kept], np.intp)


def nms_by_group(boxes: Boxes, scores: NDArray[np.floating[Any]], group: Indices, threshold: float) -> Indices:
    """As `nms`, for each group by itself; group by group. Corners are whole pixels."""
    apart = 2.0 ** np.ceil(np.log2(np.abs(boxes).max(initial=1))) * 4  # a power of two: shifted corners stay exact
    kept = nms(boxes + group[:, None] * apart, scores, threshold)
    return np.asarray(kept[np.argsort(group[kept], kind="stable")], np.intp)


def _overlapping(boxes: Boxes, threshold: float, over_smaller: bool) -> tuple[Indices, Indices]:
    """All pairs of boxes, the smaller index first, that overlap by more than the threshold."""
    none = np.empty(0, np.intp)
    found = [(none, none)]
    x1, y1, x2, y2 = boxes.T.copy()
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    for first, second in _near(boxes, 0.0 if over_smaller else threshold):
        shared = _common(x1, x2, first, second) * _common(y1, y2, first, second)
        meet = np.flatnonzero(shared)
        first, second, shared = first[meet], second[meet], shared[meet]
        if over_smaller:
            whole = np.minimum(area[first], area[second])
        else:
            whole = area[first] + area[second] - shared
        overlap = shared / whole > threshold
        first, second = first[overlap], second[overlap]
        found.append((np.minimum(first, second), np.maximum(first, second)))
    better, worse = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return better, worse


def _common(begin: Boxes, end: Boxes, first: Indices, second: Indices) -> Boxes:
    """Pixels that two boxes share along one axis."""
    shared = np.minimum(end[first], end[second]) - np.maximum(begin[first], begin[second]) + 1
    return np.asarray(np.maximum(shared, 0), np.float64)


def _near(boxes: Boxes, threshold: float) -> Iterator[tuple[Indices, Indices]]:
    """Pairs that may overlap by more than the threshold, a bounded number at a time.

    Boxes that share more than that part of their union share more than that part of each one's width. So of two
    boxes, the one further right must begin before that much of the other is left. The same holds from top to bottom.
    """
    if len(boxes) <= FEW:
        first, second = PAIRS[:, : len(boxes) * (len(boxes) - 1) // 2]
        yield first, second
        return
    axis = int(np.argmax(np.ptp(boxes[:, :2], axis=0)))
    order = np.argsort(boxes[:, axis], kind="stable")
    begin, end = boxes[order, axis], boxes[order, axis + 2] + 1
    other_begin, other_end = boxes[order, 1 - axis], boxes[order, 3 - axis]
    last = np.searchsorted(begin, end - threshold * (end - begin), side="right")
    count = np.maximum(last - np.arange(len(boxes)) - 1, 0)
    total = np.cumsum(count)
    start = 0
    while start < len(boxes):
        stop = max(int(np.searchsorted(total, total[start] - count[start] + PAIRS_AT_ONCE)), start + 1)
        part = count[start:stop]
        first = np.repeat(np.arange(start, stop), part)
        second = first + np.arange(1, len(first) + 1) - np.repeat(np.cumsum(part) - part, part)
        meet = np.flatnonzero((other_begin[first] <= other_end[second]) & (other_begin[second] <= other_end[first]))
        yield order[first[meet]], order[second[meet]]
        start = stop


def regress(boxes: Boxes, offsets: NDArray[np.floating[Any]], extent: int = 1) -> Boxes:
    """Move each corner by its offset[n, 4], given in box widths and heights. A box of x1..x2 is x2-x1+extent wide."""
    width = boxes[:, 2] - boxes[:, 0] + extent
    height = boxes[:, 3] - boxes[:, 1] + extent
    return np.asarray(boxes[:, :4] + offsets * np.stack([width, height, width, height], axis=1), np.float64)


def square(boxes: Boxes, extent: int = 0) -> Boxes:
    """Grow the shorter side about the centre until it equals the longer one; `extent` as in `regress`."""
    width = boxes[:, 2] - boxes[:, 0] + extent
    height = boxes[:, 3] - boxes[:, 1] + extent
    side = np.maximum(width, height)
    x1 = boxes[:, 0] + width * 0.5 - side * 0.5
    y1 = boxes[:, 1] + height * 0.5 - side * 0.5
    return np.stack([x1, y1, x1 + side - extent, y1 + side - extent], axis=1)
