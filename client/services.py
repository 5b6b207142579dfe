"""The UAI classes, one row each: how to parse the body, what to ask of Triton, how to write the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import wire
from .errors import BadUpstream
from .faces import Network
from .settings import Settings
from .triton import Parameters, Triton, images

Pictures = tuple[bytes, ...]
Floats = npt.NDArray[np.float32]

TOO_FEW = "-1"
NO_FACE = "None"
# EXIF is ignored on /service, as Pillow did for the original; the case study cropped without a margin.
DETECT: Parameters = {"apply_exif": False}
CASE_STUDY: Parameters = {"apply_exif": False, "crop": "case_study"}


@dataclass(frozen=True)
class Service:
    """A class of the original: request body to pictures, pictures to the text of the answer."""

    parse: Callable[[bytes, Settings], Pictures]
    answer: Callable[[Triton, Pictures, float], Awaitable[str]]
    network: Network | None = None  # whose embeddings are in or behind the answer


async def embed(triton: Triton, pictures: Pictures, deadline: float) -> Floats:
    """Embeddings float32[N,512] of N face crops, in their order."""
    outputs = await triton.infer("facenet_embed", {"IMAGE": images(*pictures)}, ("EMBEDDING",), deadline)
    return outputs["EMBEDDING"].astype(np.float32, copy=False)


async def detect(triton: Triton, pictures: Pictures, deadline: float) -> Floats:
    """Boxes float32[F,5] of the faces in the first picture, by falling score."""
    outputs = await triton.infer("face_detect", {"IMAGE": _one(pictures[0])}, ("BOXES",), deadline, DETECT)
    return outputs["BOXES"].astype(np.float32, copy=False)


async def distance_of(triton: Triton, pair: Floats, deadline: float) -> str:
    """The distance between the rows of float32[2,512]."""
    outputs = await triton.infer("face_distance", {"EMBEDDING": pair}, ("DISTANCE",), deadline)
    return wire.distance_text(outputs["DISTANCE"].astype(np.float32)[0])


async def compare(triton: Triton, pictures: Pictures, deadline: float) -> str:
    """The distance between the first two crops. Every crop is run, so that a bad one is an error in any place."""
    if len(pictures) == 2:
        outputs = await triton.infer("facenet_compare", {"IMAGE": images(*pictures)}, ("DISTANCE",), deadline)
        return wire.distance_text(outputs["DISTANCE"].astype(np.float32)[0])
    embeddings = await embed(triton, pictures, deadline)
    return await distance_of(triton, embeddings[:2], deadline) if len(pictures) > 2 else TOO_FEW


async def compare_photos(triton: Triton, pictures: Pictures, deadline: float) -> str:
    """The distance between the best faces of two photos."""
    if len(pictures) != 2:
        return TOO_FEW
    best = await all_of(*(_best_face(triton, picture, deadline) for picture in pictures))
    if any(face is None for face in best):
        return TOO_FEW
    return await distance_of(triton, np.stack(best), deadline)


async def _best_face(triton: Triton, picture: bytes, deadline: float) -> Floats | None:
    """The embedding float32[512] of the best face of a photo, if it has one."""
    outputs = await triton.infer(
        "facenet_photo", {"IMAGE": _one(picture)}, ("BOXES", "EMBEDDING"), deadline, CASE_STUDY
    )
    faces = len(outputs["BOXES"])
    if faces and len(outputs["EMBEDDING"]) != faces:
        raise BadUpstream("triton_garbled", "Triton's boxes and embeddings differ in number")
    return outputs["EMBEDDING"][0].astype(np.float32, copy=False) if faces else None


async def arcface(triton: Triton, pictures: Pictures, deadline: float) -> str:
    """The ArcFace embedding of one face crop, or `None`."""
    outputs = await triton.infer("arcface_embed", {"IMAGE": images(*pictures)}, ("EMBEDDING", "FOUND"), deadline)
    return wire.arcface_text(outputs["EMBEDDING"].astype(np.float32)[0]) if outputs["FOUND"].all() else NO_FACE


async def embed_rows(triton: Triton, pictures: Pictures, deadline: float) -> str:
    return wire.embeddings_json(await embed(triton, pictures, deadline))


async def compare_or_embed(triton: Triton, pictures: Pictures, deadline: float) -> str:
    return await (compare if len(pictures) > 1 else embed_rows)(triton, pictures, deadline)


async def embed_flat(triton: Triton, pictures: Pictures, deadline: float) -> str:
    return wire.embedding_json(await embed(triton, pictures, deadline))


async def boxes(triton: Triton, pictures: Pictures, deadline: float) -> str:
    return wire.boxes_json(await detect(triton, pictures, deadline))


async def bounds(triton: Triton, pictures: Pictures, deadline: float) -> str:
    return wire.bounds_json(await detect(triton, pictures, deadline))


def parse_any_number(body: bytes, settings: Settings) -> Pictures:
    """As any-key, none included: the case study answers -1 to any number but two."""
    return wire.parse_images_of_any_key(body, settings, least=0)


SERVICES = {
    "FaceCompareModel": Service(wire.parse_images, compare, "facenet"),
    "FaceEmbedModel": Service(wire.parse_images, embed_rows, "facenet"),
    "FaceEmbedModelAutoBatch": Service(wire.parse_picture, embed_flat, "facenet"),
    "FaceDetectionModel": Service(wire.parse_picture, boxes),
    "FaceCompareJsonModel": Service(wire.parse_images_of_any_key, compare, "facenet"),
    "FaceDetectionJsonModel": Service(wire.parse_images_of_any_key, bounds),
    "FaceCompareService": Service(parse_any_number, compare_photos, "facenet"),
    "InsightFaceModel": Service(wire.parse_picture, arcface, "arcface"),
}


BY_COUNT = Service(wire.parse_images_of_likely_key, compare_or_embed, "facenet")


def service_for(body: bytes) -> Service:
    """Without a configured class the body decides: a picture, JSON with one image, or JSON with more."""
    return SERVICES["InsightFaceModel"] if wire.looks_like_a_picture(body) else BY_COUNT


def _one(picture: bytes) -> npt.NDArray[np.object_]:
    """One encoded picture as BYTES[1], for the models that take no batch."""
    return np.array([picture], dtype=np.object_)


async def all_of(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run side by side; the first failure cancels the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
