"""Questions with known answers, one for each process behind Triton.

Triton 2.51 calls a model ready whose Python process has died or hangs, so readiness asks the models themselves. The
picture is 24x24 pixels of a gradient: it costs each network one small run and the detector next to nothing.
"""

import asyncio
import logging
import struct
from collections import Counter
from dataclasses import dataclass
from enum import Enum

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from .connection import Connection
from .contract import Network

logger = logging.getLogger("client.canary")

Array = npt.NDArray[np.generic]

SIDE = 24  # pixels
TOLERANCE = 1e-3  # between two answers of one model, on numbers of about 1

# How long a question keeps its place among the callers. What the gateway sent before it is ended at its own deadline
# (preprocess/serving.py), 9 s after the question at the latest; then come the step it is ended in, and the time until a
# question is asked.
LONGEST_ANSWER_SECONDS = 16.0


class Health(Enum):
    """What an answer says of its model."""

    WELL = "well"
    SILENT = "silent"  # no answer so far: it hangs, or it is very busy
    UNANSWERED = "unanswered"  # nor when the question's time was over
    FAILING = "failing"


def gradient() -> bytes:
    """A picture made of nothing but this code: BMP, 24 bits a pixel, rows from the bottom up."""
    pixels = np.indices((SIDE, SIDE)).sum(axis=0)[..., None] * np.array([5, 4, 3])
    data: bytes = pixels.astype(np.uint8).tobytes()  # SIDE * 3 is a multiple of four, so rows need no padding
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data


PICTURE = gradient()
REQUEST_ID = "canary"


@dataclass(frozen=True)
class Question:
    """An input and the output that must never change.

    array: None for two unit vectors at right angles, as long as the checkpoint makes them
    runs: the models behind Triton that it goes through, each a process
    proved_by: models whose answers to others prove the same
    slowed_by: models of which one honest request may keep the question waiting for longer than it is waited for
    """

    name: str
    array: Array | None
    output: str
    runs: frozenset[str]
    proved_by: frozenset[str]
    slowed_by: frozenset[str] = frozenset()


PHOTO, CROP = np.array([PICTURE], np.object_), np.array([[PICTURE]], np.object_)
DETECT, CROPS = frozenset({"face_detect"}), frozenset({"face_crops"})
FACENET, FACENET_RUNS = frozenset({"facenet_embed", "facenet_compare"}), frozenset({"facenet_preprocess", "facenet"})
ARCFACE, ARCFACE_RUNS = frozenset({"arcface_embed"}), frozenset({"arcface_preprocess", "arcface"})
DISTANCE = frozenset({"face_distance"})
FACENET_PHOTO, ARCFACE_PHOTO = frozenset({"facenet_photo"}), frozenset({"arcface_photo"})
PHOTOS = CROPS | FACENET_PHOTO | ARCFACE_PHOTO

# Together these models run every Python process.
QUESTIONS = {
    "facenet_embed": Question("IMAGE", CROP, "EMBEDDING", FACENET_RUNS, FACENET, slowed_by=FACENET_PHOTO),
    "arcface_embed": Question("IMAGE", CROP, "EMBEDDING", ARCFACE_RUNS, ARCFACE, slowed_by=ARCFACE | ARCFACE_PHOTO),
    "face_detect": Question("IMAGE", PHOTO, "BOXES", DETECT, DETECT, slowed_by=DETECT),
    "face_crops": Question("IMAGE", PHOTO, "BOXES", CROPS, PHOTOS, slowed_by=PHOTOS),
    "face_distance": Question("EMBEDDING", None, "DISTANCE", DISTANCE, DISTANCE | {"facenet_compare"}),
}

# The questions whose processes a model of the contract needs.
NEEDS = {
    "facenet_embed": {"facenet_embed"},
    "facenet_compare": {"facenet_embed", "face_distance"},
    "face_distance": {"face_distance"},
    "face_detect": {"face_detect"},
    "face_crops": {"face_crops"},
    "facenet_photo": {"face_crops", "facenet_embed"},
    "arcface_embed": {"arcface_embed"},
    "arcface_photo": {"face_crops", "arcface_embed"},
}


class Canary:
    """Asks all questions of a Triton, and holds later answers against the first ones."""

    def __init__(self) -> None:
        self.start_anew()
        self._asked: dict[tuple[Connection, str], asyncio.Future[Health]] = {}
        self._answers: Counter[tuple[Connection, str]] = Counter()

    async def ask(self, client: Connection, seconds: float) -> dict[str, Health]:
        """The health of each model, after at most `seconds`.

        A question that a model has not come to by then keeps its place among the callers, so that it is answered when
        all before it are, and is not asked anew before its answer was looked at.
        """
        asked = {model: self._question(client, model) for model in QUESTIONS}
        await asyncio.wait(asked.values(), timeout=seconds)
        health = {model: answer.result() if answer.done() else Health.SILENT for model, answer in asked.items()}
        for model, answer in asked.items():
            if answer.done():
                del self._asked[client, model]
        return health

    def answers(self, client: Connection, model: str) -> int:
        """How many answers of this model of a Triton were to questions."""
        return self._answers[client, model]

    def start_anew(self) -> None:
        """Hold no answer against those of before: who gave them is gone."""
        self._known: dict[str, Array] = {"face_distance": np.array([np.sqrt(2)], np.float32)}

    async def forget(self, client: Connection) -> None:
        """Wait for none of its answers any longer."""
        waiting = [self._asked.pop((client, model)) for model in QUESTIONS if (client, model) in self._asked]
        for answer in waiting:
            answer.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for model in QUESTIONS:
            self._answers.pop((client, model), None)

    def _question(self, client: Connection, model: str) -> asyncio.Future[Health]:
        key = client, model
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(self._ask(client, model, LONGEST_ANSWER_SECONDS))
        return self._asked[key]

    def embedding_size(self, network: Network) -> int | None:
        """How many numbers the embeddings of a network have, once it has answered."""
        answer = self._known.get(f"{network}_embed")
        return None if answer is None else answer.shape[-1]

    async def _ask(self, client: Connection, model: str, seconds: float) -> Health:
        question = QUESTIONS[model]
        wanted = [InferRequestedOutput(question.output)]
        try:
            array = await _unit_vectors(client, model, seconds) if question.array is None else question.array
            tensor = InferInput(question.name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            result = await client.infer(model, [tensor], outputs=wanted, client_timeout=seconds, request_id=REQUEST_ID)
            self._answers[client, model] += 1
            answer = result.as_numpy(question.output)
            if answer is None or not np.isfinite(answer).all():
                return Health.FAILING
        except InferenceServerException as error:
            return _judge(error)
        except Exception as error:  # what tritonclient or numpy make of an answer that is garbled or of another type
            logger.warning("the answer of %s to its question cannot be read: %s", model, type(error).__name__)
            return Health.FAILING
        known = self._known.setdefault(model, answer)
        same = answer.shape == known.shape and bool(np.all(np.abs(answer - known) < TOLERANCE))
        return Health.WELL if same else Health.FAILING


async def _unit_vectors(client: Connection, model: str, seconds: float) -> Array:
    """float32[2,D] for a model whose only input is a pair of embeddings; raises InferenceServerException."""
    metadata = await client.get_model_metadata(model, client_timeout=seconds)
    return np.eye(2, metadata.inputs[0].shape[-1], dtype=np.float32)


def _judge(error: InferenceServerException) -> Health:
    message = error.message() or ""
    if error.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED) or "late: " in message:  # by the model's own clock
        return Health.UNANSWERED
    # A model that refuses because too many wait is alive; so is the queue of a Triton that bounds it by itself.
    busy = any(text in message for text in ("busy: ", "maximum queue size", "timeout expired"))
    return Health.WELL if busy else Health.FAILING
