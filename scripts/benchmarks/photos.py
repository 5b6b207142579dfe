"""Photos to detect faces in, of all sizes and with one to a hundred faces, made from the pictures in ../shared."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess import image

SHARED = Path(__file__).resolve().parents[3] / "shared"
SIZES = [(250, 250), (400, 600), (800, 1000), (1000, 1500), (1500, 2000), (2000, 3000), (3000, 4300)]
CROWDS = (1, 10, 100)


@dataclass(frozen=True)
class Photo:
    """uint8[h, w, 3], RGB, and what it is of."""

    name: str
    pixels: NDArray[np.uint8]

    @property
    def megapixels(self) -> float:
        return self.pixels.shape[0] * self.pixels.shape[1] / 1e6


def by_size() -> list[Photo]:
    """Three photos of each size: one face, a few faces, and a wall of portraits."""
    photos = []
    for height, width in SIZES:
        photos += [
            Photo("portrait", _scaled(_portraits(1)[0], height, width)),
            Photo("group", _scaled(_read("golden/uai/images/selfie-many-people.jpg"), height, width)),
            Photo("wall", wall(height, width)),
        ]
    return photos


def by_faces() -> list[Photo]:
    """The same photo of 1.5 megapixels with 1, 10 and 100 faces of 100 pixels."""
    empty = _scaled(_read("golden/uai/images/no-faces.jpg"), 1000, 1500)
    ground = np.asarray(cv2.GaussianBlur(empty, (0, 0), 3), np.uint8)
    photos = []
    for count in CROWDS:
        pixels = ground.copy()
        for place, portrait in enumerate(_portraits(count)):
            top, left = place // 15 * 140, place % 15 * 100
            pixels[top : top + 100, left : left + 100] = _scaled(portrait[60:200, 55:195], 100, 100)
        photos.append(Photo(f"{count} faces", pixels))
    return photos


def wall(height: int, width: int, side: int = 250) -> NDArray[np.uint8]:
    """Portraits of different people side by side, as many as fill the photo."""
    rows, columns = -(-height // side), -(-width // side)
    faces = _portraits(rows * columns)
    bands = [np.concatenate(faces[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
    return np.ascontiguousarray(np.concatenate(bands)[:height, :width])


def _portraits(count: int) -> list[NDArray[np.uint8]]:
    return [image.decode(path.read_bytes()) for path in sorted((SHARED / "lfw-fold1").glob("*/*.jpg"))[:count]]


def _read(name: str) -> NDArray[np.uint8]:
    return image.decode((SHARED / name).read_bytes())


def _scaled(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
