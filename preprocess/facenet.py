"""FaceNet's view of a face: 160x160 RGB, whitened unless told otherwise (davidsandberg/facenet, src/facenet.py)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 160  # pixels, both sides
MARGIN = 44  # pixels around a detected box, half on each side (uai-sdk gen_img_json.py)


@dataclass(frozen=True)
class Form:
    """The pictures that the network at hand is given: their sides in pixels, and `prewhiten` or `fixed` values."""

    size: int = SIZE
    normalisation: str = "prewhiten"

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Form":
        """The form that `preprocess.prepare` wrote into a model's parameters."""
        form = cls(int(parameters.get("INPUT_SIZE", SIZE)), parameters.get("NORMALISATION", "prewhiten"))
        if form.normalisation not in ("prewhiten", "fixed"):
            raise ValueError(f"NORMALISATION is {form.normalisation!r}; known are prewhiten and fixed")
        return form


def to_input(face: NDArray[np.uint8], form: Form) -> NDArray[np.float32]:
    """Resize an aligned face uint8[h, w, 3] RGB to float32[size, size, 3], normalised. The aspect ratio is not kept."""
    normalise = prewhiten if form.normalisation == "prewhiten" else fixed
    return normalise(resize(face, form.size))


def resize(face: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.uint8]:
    """Scale uint8[h, w, 3] to uint8[size, size, 3] with Pillow's antialiased bilinear filter, as the original."""
    if face.shape[:2] == (size, size):
        return face
    return np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BILINEAR))


def prewhiten(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shift and scale a picture to mean 0 and deviation 1; a flat picture becomes zeros, not NaN."""
    mean = face.mean()
    deviation = max(face.std(), 1.0 / np.sqrt(face.size))
    whitened: NDArray[np.float32] = ((face - mean) / deviation).astype(np.float32)
    return whitened


def fixed(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale 0..255 to about -1..1 whatever the picture, as facenet's training does with its fixed standardisation."""
    return (face.astype(np.float32) - np.float32(127.5)) / np.float32(128)


def crop(image: NDArray[np.uint8], box: NDArray[np.float32], margin: int = MARGIN) -> NDArray[np.uint8]:
    """Cut a box (x1, y1, x2, y2 in pixels) with its margin out of uint8[h, w, 3], as gen_img_json.py does.

    The cut ends at the picture's border and its corners are truncated to whole pixels. A box that lies
    outside the picture gives one pixel at the border, so that every face has a crop.
    """
    height, width = image.shape[:2]
    x1, y1 = (int(max(corner - margin / 2, 0)) for corner in box[:2])
    x2 = int(min(box[2] + margin / 2, width))
    y2 = int(min(box[3] + margin / 2, height))
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
