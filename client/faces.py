"""What the Python client takes and gives, and the functions between them and Triton's arrays. No IO."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .contract import Network as Network
from .errors import BadPicture, BadUpstream, TooLarge
from .settings import Settings

Floats = NDArray[np.float32]
Photo = bytes | NDArray[np.uint8]  # an encoded picture, or pixels uint8[height, width, 3] in RGB
NETWORKS: tuple[Network, ...] = ("facenet", "arcface")


@dataclass(frozen=True)
class Faces:
    """Faces of one photo, best score first.

    boxes: float32[n, 5]: x1, y1, x2, y2 in pixels and the score 0..1
    landmarks: float32[n, 5, 2]: x, y in pixels of both eyes, the nose and both corners of the mouth
    """

    boxes: Floats
    landmarks: Floats


@dataclass(frozen=True)
class EmbeddedFaces:
    """Faces of one photo with their embeddings float32[n, D] of length 1; `found` counts all, not the best 32."""

    boxes: Floats
    landmarks: Floats
    embeddings: Floats
    found: int


@dataclass(frozen=True)
class EmbeddedCrops:
    """Embeddings float32[n, D] of face crops; a row is zeros where `found`, bool[n], is false."""

    embeddings: Floats
    found: NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """Two photos compared by the largest face of each.

    distance: Euclidean, 0 (the same) to 2
    threshold: the distance below which two faces are taken for one person; None for weights without a measured one
    match: whether the distance is below the threshold; None without one
    first, second: all faces of both photos; `distances(first.embeddings, second.embeddings)` compares every pair
    """

    distance: float
    threshold: float | None
    match: bool | None
    first: EmbeddedFaces
    second: EmbeddedFaces


def require_network(model: str) -> None:
    """Raise ValueError for a model that is not one of NETWORKS."""
    if model not in NETWORKS:
        raise ValueError(f"there is no model {model!r}; give {' or '.join(NETWORKS)}")


def require_several(crops: object) -> None:
    """Raise TypeError for one crop, or for what holds none, in the place of a list."""
    one = isinstance(crops, bytes | str) or (isinstance(crops, np.ndarray) and crops.ndim == 3)
    if one or not isinstance(crops, Iterable):
        raise TypeError("crops are a list of photos; give a single one as [photo]")


def encode(photo: Photo) -> bytes:
    """The bytes that are sent: an encoded picture as it is, pixels as PNG.

    Raises TypeError, BadPicture or TooLarge before anything is sent.
    """
    data = photo if isinstance(photo, bytes) else _png(photo)
    if len(data) > Settings.max_image_bytes:
        raise TooLarge("image_too_large", f"the picture has {len(data)} bytes; at most {Settings.max_image_bytes}")
    return data


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels uint8[height, width, 3] as a PNG; raises TypeError for what is no array, BadPicture for another array."""
    if not isinstance(pixels, np.ndarray):
        raise TypeError("a photo is bytes or pixels uint8[height, width, 3]; read a file with Path(name).read_bytes()")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise BadPicture("image_format", "pixels must be uint8[height, width, 3] in RGB")
    from PIL import Image  # the gateway, which uses the rest of this module, does without

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def detected(outputs: Mapping[str, NDArray[np.generic]]) -> Faces:
    """The answer of face_detect."""
    return Faces(outputs["BOXES"].astype(np.float32), outputs["LANDMARKS"].astype(np.float32))


def embedded(outputs: Mapping[str, NDArray[np.generic]]) -> EmbeddedFaces:
    """The answer of a photo model, without the row that stands for no face."""
    faces, embeddings = detected(outputs), outputs["EMBEDDING"].astype(np.float32)
    if len(embeddings) != max(len(faces.boxes), 1):
        raise BadUpstream("triton_garbled", "Triton's boxes and embeddings differ in number")
    count = int(outputs["FACE_COUNT"].astype(np.int64)[0])
    return EmbeddedFaces(faces.boxes, faces.landmarks, embeddings[: len(faces.boxes)], count)


def compared(first: EmbeddedFaces, second: EmbeddedFaces, threshold: float | None) -> Comparison:
    """Compare the largest faces; raises BadPicture for a photo without a face."""
    for photo, which in ((first, "first"), (second, "second")):
        if not len(photo.boxes):
            raise BadPicture("no_face", f"the {which} photo shows no face")
    pair = distances(first.embeddings[[largest(first.boxes)]], second.embeddings[[largest(second.boxes)]])
    distance = float(pair[0, 0])
    return Comparison(distance, threshold, None if threshold is None else distance < threshold, first, second)


def largest(boxes: Floats) -> int:
    """The row of float32[n, 5], n at least 1, whose box has the largest area."""
    return int(np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))


def distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances float32[n, m] between embeddings float32[n, D] and float32[m, D]."""
    found: Floats = np.linalg.norm(first[:, None] - second[None], axis=2)
    return found
