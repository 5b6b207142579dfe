"""What each route of /v1 does: pictures to Triton, its arrays to an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np

from ..errors import BadPicture, BadUpstream, ServiceError, TooLarge
from ..faces import EmbeddedFaces, Network, detected, distances, embedded, largest
from ..services import all_of
from ..thresholds import THRESHOLDS
from ..triton import Triton
from . import answers
from .answers import (
    Compared,
    CroppedFace,
    Detected,
    DetectedImage,
    Embedded,
    EmbeddedFace,
    EmbeddedImage,
    Face,
    Floats,
    Pair,
)
from .body import Asked, Picture, alone
from .options import Choice, Compare, Detect, Embed, Finding

SIDE_BY_SIDE = 4  # pictures of one request in Triton at once, so that one caller does not fill its queues
Result = TypeVar("Result")


async def detect(triton: Triton, asked: Asked[Detect], deadline: float) -> Detected:
    """The faces of each picture."""

    async def one(picture: bytes) -> DetectedImage:
        if asked.options.crops == "none":
            return await _detect(triton, picture, asked.options, deadline)
        return await _crop(triton, picture, asked.options, deadline)

    results = await _each(asked.pictures, one)
    return Detected([answers.failed(r) if isinstance(r, ServiceError) else r for r in results])


async def embed(triton: Triton, asked: Asked[Embed], deadline: float) -> Embedded:
    """The faces of each picture and their embeddings."""
    options = asked.options

    async def one(picture: bytes) -> EmbeddedImage:
        found = await _embed(triton, picture, options.model, options, deadline)
        rows = zip(found.boxes, found.landmarks, found.embeddings, strict=True)
        faces = [EmbeddedFace(**answers.face(*at), embedding=answers.embedding(e, options.encoding)) for *at, e in rows]
        return EmbeddedImage(found.found, faces)

    results = await _each(asked.pictures, one)
    identity = await triton.identity(options.model, deadline)
    images = [answers.failed(r) if isinstance(r, ServiceError) else r for r in results]
    return Embedded(options.model, identity.embedding_id or None, images)


async def compare(triton: Triton, asked: Asked[Compare], deadline: float) -> Compared:
    """Every wanted face of the first picture with every one of the second."""
    options = asked.options

    async def one(picture: bytes) -> EmbeddedFaces:
        return await _embed(triton, picture, options.model, options, deadline)

    results = await _each(asked.pictures, one)
    first, second = (_usable(index, result) for index, result in enumerate(results))
    identity = await triton.identity(options.model, deadline)
    threshold = options.threshold if options.threshold is not None else THRESHOLDS.get(identity.embedding_id)
    pairs = pairs_of(first.embeddings, second.embeddings, threshold)
    return Compared(
        model=options.model,
        embedding_id=identity.embedding_id or None,
        threshold=threshold,
        match=pairs[0].match if pairs else None,
        distance=pairs[0].distance if pairs else None,
        pairs=pairs,
        images=[DetectedImage(found.found, _faces(found.boxes, found.landmarks)) for found in (first, second)],
    )


def pairs_of(first: Floats, second: Floats, threshold: float | None) -> list[Pair]:
    """Embeddings float32[n, D] and float32[m, D] of length 1 as n * m pairs, closest first."""
    if not len(first) or not len(second):
        return []
    apart = distances(first, second)
    cosines = np.clip(first @ second.T, -1, 1)
    order = np.argsort(apart, axis=None, kind="stable")
    return [
        Pair(int(i), int(j), distance, cosine, None if threshold is None else distance < threshold)
        for i, j, distance, cosine in zip(
            *np.unravel_index(order, apart.shape),
            answers.numbers(apart.ravel()[order]),
            answers.numbers(cosines.ravel()[order]),
            strict=True,
        )
    ]


async def _detect(triton: Triton, picture: bytes, options: Detect, deadline: float) -> DetectedImage:
    inputs = {"IMAGE": np.array([picture], np.object_)}
    found = detected(await triton.infer("face_detect", inputs, ("BOXES", "LANDMARKS"), deadline, options.parameters()))
    kept = chosen(found.boxes, options.faces)
    return DetectedImage(len(found.boxes), _faces(found.boxes[kept], found.landmarks[kept]))


async def _crop(triton: Triton, picture: bytes, options: Detect, deadline: float) -> DetectedImage:
    crops = f"{options.crops.upper()}_CROPS"
    inputs, wanted = {"IMAGE": np.array([picture], np.object_)}, ("BOXES", "LANDMARKS", "FACE_COUNT", crops)
    outputs = await triton.infer("face_crops", inputs, wanted, deadline, options.parameters())
    found = detected(outputs)
    if len(outputs[crops]) != len(found.boxes):
        raise BadUpstream("triton_garbled", "Triton's boxes and crops differ in number")
    rows = [(found.boxes[i], found.landmarks[i], outputs[crops][i]) for i in chosen(found.boxes, options.faces)]
    faces: list[CroppedFace | Face] = [
        CroppedFace(**answers.face(*at), crop=answers.base64_of(crop)) for *at, crop in rows
    ]
    return DetectedImage(int(outputs["FACE_COUNT"].astype(np.int64)[0]), faces)


async def _embed(triton: Triton, picture: bytes, model: Network, options: Finding, deadline: float) -> EmbeddedFaces:
    inputs = {"IMAGE": np.array([picture], np.object_)}
    wanted = ("BOXES", "LANDMARKS", "EMBEDDING", "FACE_COUNT")
    found = embedded(await triton.infer(f"{model}_photo", inputs, wanted, deadline, options.parameters()))
    kept = chosen(found.boxes, options.faces)
    return EmbeddedFaces(found.boxes[kept], found.landmarks[kept], found.embeddings[kept], found.found)


def chosen(boxes: Floats, faces: Choice) -> list[int]:
    """Which rows of float32[n, 5] are wanted."""
    if faces == "all" or not len(boxes):
        return list(range(len(boxes)))
    return [largest(boxes)]


def _faces(boxes: Floats, landmarks: Floats) -> list[CroppedFace | Face]:
    return [Face(**answers.face(*at)) for at in zip(boxes, landmarks, strict=True)]


async def _each(
    pictures: tuple[Picture, ...], work: Callable[[bytes], Awaitable[Result]]
) -> list[Result | ServiceError]:
    """The result for each picture. Its own fault stays with it, unless all have one; any other ends them all."""
    slots = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(picture: Picture) -> Result | ServiceError:
        if isinstance(picture, ServiceError):
            return picture
        async with slots:
            try:
                return await work(picture)
            except (BadPicture, TooLarge) as error:
                return alone(error)

    results = await all_of(*(one(picture) for picture in pictures))
    if all(isinstance(result, ServiceError) for result in results):
        raise results[0]
    return results


def _usable(index: int, result: EmbeddedFaces | ServiceError) -> EmbeddedFaces:
    """A comparison needs both pictures, so a fault of one is its own; the message says which."""
    if isinstance(result, ServiceError):
        raise type(result)(result.code, f"picture {index + 1}: {result.message}")
    return result
