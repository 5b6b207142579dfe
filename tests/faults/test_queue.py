"""Direct callers of Triton, past the gateway that bounds what it sends: too many at once, and some with little time."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from client.stubs import MOST_WAITING
from tests.conftest import Server, serving
from tests.faults.conftest import is_ready, post

SHAPES = {"face_detect": (1,), "facenet_embed": (1, 1)}


class Asked:
    """Requests sent in one instant, and what became of each."""

    def __init__(
        self, client: InferenceServerClient, model: str, picture: bytes, count: int, **options: object
    ) -> None:
        self.became: Counter[str] = Counter()
        self._count, self._all = count, threading.Event()
        tensor = InferInput("IMAGE", SHAPES[model], "BYTES")
        tensor.set_data_from_numpy(np.array([picture], np.object_).reshape(SHAPES[model]))
        for _ in range(count):
            client.async_infer(model, [tensor], self._answered, **options)

    def _answered(self, result: object, error: InferenceServerException | None) -> None:
        self.became[f"{error.status()}: {error.message()}" if error else "answered"] += 1
        if self.became.total() == self._count:
            self._all.set()

    def wait(self, seconds: float) -> None:
        assert self._all.wait(seconds), f"after {seconds} s only {self.became}"


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    """One of their own: Triton 2.51 may end minutes after such callers, with a corrupt heap."""
    with serving(repository) as running:
        yield running


@pytest.fixture
def client(server: Server) -> InferenceServerClient:
    return InferenceServerClient(server.grpc)


@pytest.mark.parametrize("model", SHAPES)
def test_too_many_requests_without_a_deadline_are_refused_and_the_model_is_soon_free(
    model: str, server: Server, client: InferenceServerClient, make_picture: Callable[..., bytes]
) -> None:
    asked = Asked(client, model, make_picture("JPEG", size=(1200, 900)), 6 * MOST_WAITING)
    asked.wait(20)
    refused = sum(count for text, count in asked.became.items() if "busy: too many requests wait" in text)
    assert refused > 4 * MOST_WAITING
    assert refused + asked.became["answered"] == 6 * MOST_WAITING
    assert "StatusCode.UNAVAILABLE" in max(asked.became, key=lambda text: asked.became[text])
    time.sleep(1)  # two looks of the launcher
    assert post(f"{server.url}/service/FaceDetectionModel", make_picture("JPEG"))[0] == 200
    assert is_ready(server)


def test_requests_whose_time_runs_out_while_they_wait_are_not_run(
    server: Server, client: InferenceServerClient, make_picture: Callable[..., bytes]
) -> None:
    large = Asked(client, "face_detect", make_picture("JPEG", size=(5000, 4000)), 1)
    time.sleep(0.2)
    # Not by a gRPC deadline: before 2.57 Triton may not survive a hundred that pass at once.
    soon = {"deadline_ms": round((time.time() + 0.5) * 1000)}
    asked = Asked(client, "face_detect", make_picture("JPEG", size=(3000, 2000)), 100, parameters=soon)
    large.wait(20)
    begun = time.monotonic()
    Asked(client, "face_detect", make_picture("JPEG"), 1).wait(20)
    assert time.monotonic() - begun < 2  # a hundred such pictures take longer
    asked.wait(1)
    late = {text for text in asked.became if text.startswith("StatusCode.CANCELLED: late: ")}
    assert late
    assert set(asked.became) <= late | {"answered"}
