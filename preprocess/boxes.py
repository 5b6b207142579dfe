"""Arithmetic of face boxes: float64[n, 4+] with x1, y1, x2, y2 in pixels, both corners inside the box."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


def nms(
    boxes: Boxes, scores: NDArray[np.floating[Any]], threshold: float, over_smaller: bool = False
) -> NDArray[np.intp]:
    """Indices of the boxes kept by non-maximum suppression, by falling score.

    A box goes when its intersection with a better one, over their union (or over the smaller of the two),
    is above the threshold. Boxes of equal score are taken last first, as the original does.
    """
    x1, y1, x2, y2 = boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3]
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    left = np.argsort(scores, kind="stable")
    kept = []
    while left.size:
        best, left = left[-1], left[:-1]
        kept.append(best)
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left]) + 1
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        whole = np.minimum(area[best], area[left]) if over_smaller else area[best] + area[left] - shared
        left = left[shared / whole <= threshold]
    return np.array(kept, dtype=np.intp)


def regress(boxes: Boxes, offsets: NDArray[np.floating[Any]], extent: int = 1) -> Boxes:
    """Move each corner by its offset[n, 4], given in box widths and heights. A box of x1..x2 is x2-x1+extent wide."""
    width = boxes[:, 2] - boxes[:, 0] + extent
    height = boxes[:, 3] - boxes[:, 1] + extent
    return boxes[:, :4] + offsets * np.stack([width, height, width, height], axis=1)


def square(boxes: Boxes, extent: int = 0) -> Boxes:
    """Grow the shorter side about the centre until it equals the longer one; `extent` as in `regress`."""
    width = boxes[:, 2] - boxes[:, 0] + extent
    height = boxes[:, 3] - boxes[:, 1] + extent
    side = np.maximum(width, height)
    x1 = boxes[:, 0] + width * 0.5 - side * 0.5
    y1 = boxes[:, 1] + height * 0.5 - side * 0.5
    return np.stack([x1, y1, x1 + side - extent, y1 + side - extent], axis=1)
