"""Similarity alignment of a face by its five landmarks (InsightFace, src/common/face_preprocess.py)."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 112  # pixels, both sides

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
    return np.asarray(cv2.warpAffine(image, similarity(landmarks), (SIZE, SIZE), borderValue=(0, 0, 0)), np.uint8)
