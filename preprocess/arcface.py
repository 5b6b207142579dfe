"""ArcFace's view of a face: 112x112 RGB, aligned by five landmarks, 0..255; the network scales it itself."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess import align
from preprocess.insightface import Face
from preprocess.pyramid import Image

SIZE = align.SIZE
NO_FACE: NDArray[np.float32] = np.zeros((3, SIZE, SIZE), np.float32)


def to_input(image: Image, landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The face with landmarks[5, 2] in uint8[h, w, 3], RGB, as the network takes it: float32[3, 112, 112]."""
    return align.align(image, landmarks).transpose(2, 0, 1).astype(np.float32)


def of_face(image: Image, face: Face | None) -> NDArray[np.float32]:
    """What the network takes of a picture, float32[3, 112, 112]; a black one where there is no face."""
    return NO_FACE if face is None else to_input(image, face.landmarks)
