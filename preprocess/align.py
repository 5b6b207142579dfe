"""Similarity alignment of a face by its five landmarks (InsightFace, src/common/face_preprocess.py)."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 112  # pixels, both sides
LONGEST = 32_766  # pixels: side of a picture that OpenCV warps

# Where both eyes, the nose and both corners of the mouth lie in the 112x112 picture: x, y in pixels.
TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(points: NDArray[np.floating[Any]], template: NDArray[np.float64] = TEMPLATE) -> NDArray[np.float64]:
    """Least-squares rotation, scale and shift that take points[n, 2] to template[n, 2], as a 2x3 matrix.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    Points that coincide have no such transform; the answer then shifts their mean onto the template's.
    """
    points = points.astype(np.float64)
    mean, target = points.mean(axis=0), template.mean(axis=0)
    centred = points - mean
    covariance = (template - target).T @ centred / len(points)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    variance = centred.var(axis=0).sum()
    scale = (singular * sign).sum() / variance if variance > 0 else 1.0
    rotation = scale * (u * sign) @ vt
    return np.column_stack([rotation, target - rotation @ mean])


def align(image: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Warp uint8[h, w, 3] so that landmarks[5, 2] (x, y) meet the template: uint8[112, 112, 3], black outside."""
    matrix = similarity(landmarks)
    if max(image.shape[:2]) > LONGEST:
        image, matrix = _around(image, matrix)
    return np.asarray(cv2.warpAffine(image, matrix, (SIZE, SIZE), borderValue=(0, 0, 0)), np.uint8)


def _around(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of a picture that a transform looks at, a pixel wider, and the transform from there."""
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]]) @ back[:, :2].T + back[:, 2]
    size = np.array(image.shape[1::-1])
    begin = np.clip(np.floor(corners.min(axis=0)) - 1, 0, size - 1).astype(np.intp)
    end = np.clip(np.ceil(corners.max(axis=0)) + 2, begin + 1, np.minimum(size, begin + LONGEST)).astype(np.intp)
    moved = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ begin])
    return image[begin[1] : end[1], begin[0] : end[0]], moved
