import asyncio
import io
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from client import canary
from client.canary import Canary, Health
from client.connection import Connection
from tests.conftest import Server


class Answers:
    """A client whose models answer numbers of the test's choice, or raise."""

    def __init__(self, **given: object) -> None:
        self.given = given
        self.shapes: dict[str, list[int]] = {}

    async def infer(self, model: str, inputs: list[InferInput], outputs: object, **more: object) -> "Answers":
        self.shapes[model] = inputs[0].shape()
        self.answer = self.given.get(model, np.array([np.sqrt(2)], np.float32))
        if isinstance(self.answer, Exception):
            raise self.answer
        return Answers(only=self.answer)

    async def get_model_metadata(self, model: str, **more: object) -> SimpleNamespace:
        return SimpleNamespace(inputs=[SimpleNamespace(shape=[2, 128])])

    def as_numpy(self, name: str) -> object:
        return self.given["only"]


def ask(*clients: Answers) -> dict[str, Health]:
    """What a canary says of the last client after it has asked the others."""
    asked = Canary()
    for client in clients:
        health = asyncio.run(asked.ask(client, 1.0))
    return health


def failed(status: grpc.StatusCode, message: str) -> InferenceServerException:
    return InferenceServerException(message, str(status))


def test_the_picture_is_one_that_decoders_take() -> None:
    picture = Image.open(io.BytesIO(canary.PICTURE))
    assert (picture.format, picture.size, picture.mode) == ("BMP", (24, 24), "RGB")


def test_the_same_answer_twice_is_well() -> None:
    assert set(ask(Answers(), Answers()).values()) == {Health.WELL}


def test_another_answer_than_before_is_failing() -> None:
    first, second = (Answers(facenet_embed=np.full((1, 512), value, np.float32)) for value in (0.1, 0.2))
    assert ask(first, second)["facenet_embed"] is Health.FAILING


def test_a_wrong_distance_is_failing_from_the_first() -> None:
    assert ask(Answers(face_distance=np.zeros(1, np.float32)))["face_distance"] is Health.FAILING


def test_the_distance_is_asked_of_vectors_as_long_as_the_checkpoint_makes_them() -> None:
    client = Answers()
    assert ask(client)["face_distance"] is Health.WELL
    assert client.shapes["face_distance"] == [2, 128]


def test_numbers_that_are_not_finite_are_failing() -> None:
    broken = Answers(arcface_embed=np.full((1, 192), np.nan, np.float32))
    assert ask(Answers(arcface_embed=np.zeros((1, 192), np.float32)), broken)["arcface_embed"] is Health.FAILING


@pytest.mark.parametrize(
    "garbled",
    [None, np.full((1, 192), np.nan, np.float32), np.array([[b"text"]], np.object_)],
    ids=["missing", "not finite", "no numbers"],
)
def test_a_garbled_first_answer_is_failing_and_is_not_what_later_ones_must_be(garbled: np.ndarray | None) -> None:
    broken, whole = Answers(arcface_embed=garbled), Answers(arcface_embed=np.zeros((1, 192), np.float32))
    assert ask(broken)["arcface_embed"] is Health.FAILING
    assert ask(broken, whole)["arcface_embed"] is Health.WELL


@pytest.mark.parametrize(
    ("error", "health"),
    [
        (failed(grpc.StatusCode.INTERNAL, "Stub process 'facenet_0' is not healthy."), Health.FAILING),
        (failed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), Health.UNANSWERED),
        (failed(grpc.StatusCode.CANCELLED, "late: the request's time was over"), Health.UNANSWERED),
        (failed(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"), Health.WELL),
        (failed(grpc.StatusCode.UNAVAILABLE, "Request timeout expired"), Health.WELL),
        (failed(grpc.StatusCode.UNAVAILABLE, "busy: too many requests wait; try again"), Health.WELL),
        (failed(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses"), Health.FAILING),
    ],
    ids=["dead", "hung", "too-late-by-its-own-clock", "queue-full", "queued-too-long", "refusing", "gone"],
)
def test_an_error_tells_a_busy_model_from_a_dead_one(error: Exception, health: Health) -> None:
    assert ask(Answers(facenet_embed=error))["facenet_embed"] is health


def test_every_model_of_the_real_server_is_well(server: Server) -> None:
    async def main() -> dict[str, Health]:
        client = Connection(server.grpc, answered_late=lambda model: None)
        try:
            asked = Canary()
            await asked.ask(client, 10.0)
            return await asked.ask(client, 10.0)
        finally:
            await client.close()

    assert set(asyncio.run(main()).values()) == {Health.WELL}
