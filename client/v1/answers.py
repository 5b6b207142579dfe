"""What /v1 answers: dataclasses whose fields are the JSON, and the functions that fill them from arrays. No IO."""

import base64
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ServiceError
from ..faces import Network
from .schema import About

Floats = npt.NDArray[np.float32]
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle round a face, in pixels from the left and the top of the upright picture; may reach beyond it."""

    x1: Annotated[float, About("Left edge.")]
    y1: Annotated[float, About("Top edge.")]
    x2: Annotated[float, About("Right edge.")]
    y2: Annotated[float, About("Bottom edge.")]


@dataclass(frozen=True)
class Landmarks:
    """Five points of a face, [x, y] in pixels; left and right are those of the picture."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


@dataclass(frozen=True)
class Face:
    """A face in a picture."""

    box: Box
    score: Annotated[float, About("How sure the detector is.", 0, 1)]
    landmarks: Landmarks


@dataclass(frozen=True)
class CroppedFace(Face):
    """A face in a picture, and the face alone."""

    crop: Annotated[str, About("The face cut out of the picture: base64 of a PNG file.")]


@dataclass(frozen=True)
class EmbeddedFace(Face):
    """A face in a picture, and its embedding."""

    embedding: Annotated[
        list[float] | str, About("A vector of length 1: its numbers, or base64 of little-endian float32.")
    ]


@dataclass(frozen=True)
class Problem:
    """What is wrong and how to put it right."""

    code: Annotated[str, About("Stable, for programs.")]
    message: Annotated[str, About("For people.")]


@dataclass(frozen=True)
class FailedImage:
    """A picture that could not be used; the others are answered."""

    error: Problem


FaceCount = Annotated[
    int, About("How many faces were found. Only the largest, or the best 32 of them, may be in the answer.")
]


@dataclass(frozen=True)
class DetectedImage:
    """The faces of a picture, best score first."""

    face_count: FaceCount
    faces: list[CroppedFace | Face]


@dataclass(frozen=True)
class EmbeddedImage:
    """The faces of a picture with their embeddings, best score first."""

    face_count: FaceCount
    faces: list[EmbeddedFace]


@dataclass(frozen=True)
class Detected:
    """One entry for each picture, in the order they were sent."""

    images: list[DetectedImage | FailedImage]


EmbeddingId = Annotated[
    str | None,
    About(
        "Names the weights and the preprocessing, as the header X-Embedding-Id does. Embeddings of two identities must "
        "not be compared. Null where the server does not know."
    ),
]


@dataclass(frozen=True)
class Embedded:
    """One entry for each picture, in the order they were sent."""

    model: Network
    embedding_id: EmbeddingId
    images: list[EmbeddedImage | FailedImage]


Match = Annotated[
    bool | None,
    About("Whether the distance is below the threshold: one person. Null without a threshold or a face to compare."),
]
Distance = Annotated[float, About("Euclidean: 0 for the same embedding, at most 2.")]
Threshold = Annotated[
    float | None,
    About("Below this distance two faces are taken for one person. Null where none was measured for these weights."),
]


@dataclass(frozen=True)
class Pair:
    """A face of the first picture and one of the second."""

    first: Annotated[int, About("Place of the face among those of the first picture, from 0.")]
    second: Annotated[int, About("Place of the face among those of the second picture, from 0.")]
    distance: Distance
    cosine: Annotated[float, About("Cosine of the angle between the embeddings: 1 for the same, at least -1.")]
    match: Match


@dataclass(frozen=True)
class Compared:
    """Two pictures compared face by face."""

    model: Network
    embedding_id: EmbeddingId
    threshold: Threshold
    match: Annotated[Match, About("Whether any pair matches. Null without a threshold or a face in both pictures.")]
    distance: Annotated[float | None, About("That of the closest pair. Null without a face in both pictures.")]
    pairs: Annotated[list[Pair], About("Every face of the first picture with every one of the second, closest first.")]
    images: Annotated[list[DetectedImage], About("The faces of both pictures.")]


@dataclass(frozen=True)
class Model:
    """A network that embeds faces. Empty texts say that the weights were not prepared by this project's tools."""

    name: Network
    embedding_id: EmbeddingId
    dimension: Annotated[int | None, About("How many numbers an embedding has.")]
    distance_threshold: Threshold
    preprocessing: str
    engine: str
    precision: Annotated[str, About("Of the network's arithmetic: float32, float16 or int8.")]
    weights_source: str
    weights_sha256: str


@dataclass(frozen=True)
class Limits:
    """The largest requests that are taken."""

    max_images: int
    max_image_bytes: int
    max_body_bytes: int


@dataclass(frozen=True)
class Models:
    """The networks to choose from, the default first, and the limits of requests."""

    models: list[Model]
    limits: Limits


@dataclass(frozen=True)
class Failure:
    """The answer to a request that failed as a whole."""

    error: Problem
    request_id: Annotated[str, About("Also in the header X-Request-Id and in the server's log.")]


def failed(error: ServiceError) -> FailedImage:
    return FailedImage(Problem(error.code, error.message))


def face(box: Floats, points: Floats) -> dict[str, Any]:
    """The fields of a Face from float32[5], x1 y1 x2 y2 and score, and float32[5, 2]."""
    *corners, score = numbers(box)
    return {"box": Box(*corners), "score": score, "landmarks": Landmarks(*map(tuple, numbers(points)))}


def embedding(vector: Floats, encoding: Literal["list", "base64"]) -> list[float] | str:
    """float32[D] as a caller wants it."""
    return base64_of(vector.astype("<f4").tobytes()) if encoding == "base64" else numbers(vector)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def numbers(array: Floats) -> list[Any]:
    """float32 of any shape as nested lists, each number with the few digits that give the same float32 again."""
    values: list[Any] = array.astype("U").astype(np.float64).tolist()
    return values


def to_json(answer: object) -> bytes:
    """A dataclass and those in it as JSON."""
    return json.dumps(answer, default=vars, separators=(",", ":")).encode()
