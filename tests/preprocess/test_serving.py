import contextlib
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from preprocess import image
from preprocess.container import MAX_SCANS
from preprocess.errors import InputError
from preprocess.interruption import LOOK_EVERY_SECONDS
from tests.fakes import pb_utils
from tests.fakes.pb_utils import InferenceRequest, TritonError
from tests.hostile.pictures import of_scans


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """preprocess.serving, which imports a module that only Triton's stub has."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", pb_utils)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "preprocess.serving", raising=False)
    yield importlib.import_module("preprocess.serving")
    sys.modules.pop("preprocess.serving", None)


def arguments(instances: int = 1, **parameters: str) -> dict[str, str]:
    config = {
        "instance_group": [{"count": instances}],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        "input": [{"name": "input"}],
        "output": [{"name": "embeddings"}],
    }
    return {
        "model_name": "facenet",
        "model_config": json.dumps(config),
        "model_repository": "/models/facenet",
        "model_version": "1",
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
    }


def test_instances_and_their_threads_never_exceed_the_cores(
    serving: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_CORES", "6")
    assert [serving.Config.read(arguments(instances)).threads for instances in (1, 2, 4, 9)] == [6, 3, 1, 1]


def test_the_costliest_picture_takes_its_decoder_less_than_a_model_may_be_silent(serving: ModuleType) -> None:
    picture = of_scans(MAX_SCANS)
    begun = time.thread_time()
    image.decode(picture)
    assert time.thread_time() - begun < serving.STEP_SECONDS - LOOK_EVERY_SECONDS


def test_a_model_reads_its_parameters_and_its_folder(serving: ModuleType) -> None:
    config = serving.Config.read(arguments(ENGINE="mxnet"))
    assert config.parameters == {"ENGINE": "mxnet"}
    assert str(config.directory) == "/models/facenet/1"


def test_a_network_computes_on_the_gpu_that_triton_gives_it(serving: ModuleType) -> None:
    assert serving.Config.read(arguments()).gpu is None
    given = arguments() | {"model_instance_kind": "GPU", "model_instance_device_id": "3"}
    assert serving.Config.read(given).gpu == 3


def test_a_demanded_gpu_that_is_not_there_stops_the_networks_and_no_other_model(
    serving: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_GPU", "yes")
    with pytest.raises(ValueError, match="Triton sees none"):
        serving.Config.read(arguments(ENGINE="onnxruntime"))
    assert serving.Config.read(arguments(DETECTION="crop")).gpu is None
    given = arguments(ENGINE="onnxruntime") | {"model_instance_kind": "GPU"}
    assert serving.Config.read(given).gpu == 0


@pytest.fixture
def halve(serving: ModuleType) -> Any:
    """A model that halves numbers, dislikes negative ones and fails on those over 100."""

    class Halve(serving.PythonModel):  # type: ignore[name-defined, misc]
        def load(self, config: Any) -> None:
            pass

        def infer(self, request: Any) -> dict[str, np.ndarray]:
            value = request.inputs["X"]
            if value < 0:
                raise InputError("parameter_invalid", "X must not be negative")
            if value > 100:
                raise RuntimeError("/secret/path")
            return {"Y": value / request.parameters.get("divisor", 2)}

    model = Halve()
    model.initialize(arguments())
    return model


def x(value: float, **more: Any) -> InferenceRequest:
    return InferenceRequest({"X": np.array([value], np.float32)}, **more)


def test_a_bad_request_fails_alone(halve: Any) -> None:
    good, bad, other = halve.execute([x(4), x(-1), x(8)])
    assert good.arrays()["Y"] == 2
    assert other.arrays()["Y"] == 4
    assert (bad.error.message, bad.error.code) == (
        "parameter_invalid: X must not be negative",
        TritonError.INVALID_ARG,
    )


def test_a_failure_of_ours_is_told_without_its_words(halve: Any, caplog: pytest.LogCaptureFixture) -> None:
    (answer,) = halve.execute([x(101)])
    assert (answer.error.message, answer.error.code) == ("internal: the model failed", TritonError.INTERNAL)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_cancelled_request_is_not_run(halve: Any) -> None:
    (answer,) = halve.execute([x(101, cancelled=True)])
    assert answer.error.code == TritonError.CANCELLED


def test_a_request_whose_time_is_over_is_not_run(halve: Any) -> None:
    now = time.time() * 1000
    late, early = halve.execute([x(101, options={"deadline_ms": now - 1}), x(8, options={"deadline_ms": now + 5000})])
    assert (late.error.message, late.error.code) == (
        "late: the request's time was over",
        TritonError.CANCELLED,
    )
    assert early.arrays()["Y"] == 4


def test_a_deadline_that_is_no_number_is_refused(halve: Any) -> None:
    (answer,) = halve.execute([x(8, options={"deadline_ms": "soon"})])
    assert answer.error.message.startswith("parameter_invalid: deadline_ms must be a number")


def spin() -> None:
    """Work that never ends, and that takes every exception for a damaged picture."""
    while True:
        with contextlib.suppress(Exception):
            sum(range(1000))


@pytest.mark.parametrize("gone", [False, True], ids=["over its time", "nobody waits"])
def test_work_without_an_end_is_ended(
    gone: bool, halve: Any, serving: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "WORK_SECONDS", 60 if gone else 0.2)
    asked = x(4)
    monkeypatch.setattr(halve, "infer", lambda given: leave(asked, gone) or spin())
    found = halve.execute([asked, asked])
    assert found[0].error.message == "late: the request's time was over"
    assert found[1].error is not None
    monkeypatch.undo()
    asked.cancelled = False
    assert halve.execute([asked])[0].error is None


def test_work_is_ended_at_the_requests_own_deadline(halve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halve, "infer", lambda request: spin())
    begun = time.monotonic()
    (answer,) = halve.execute([x(4, options={"deadline_ms": time.time() * 1000 + 200})])
    assert answer.error.message.startswith("late: ")
    assert time.monotonic() - begun < 2


def leave(request: InferenceRequest, gone: bool) -> None:
    request.cancelled = gone


@pytest.mark.parametrize("kind", ["halve", "network"])
def test_a_model_before_which_too_many_wait_refuses_until_they_are_gone(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_WATCHED", str(tmp_path))
    model = request.getfixturevalue(kind)

    def asked() -> list[InferenceRequest]:
        return [x(4) if kind == "halve" else faces(1) for _ in range(2)]

    (tmp_path / "facenet").touch()
    assert [(answer.error.message, answer.error.code) for answer in model.execute(asked())] == [
        ("busy: too many requests wait; try again", TritonError.UNAVAILABLE)
    ] * 2
    (tmp_path / "facenet").unlink()
    assert [answer.error for answer in model.execute(asked())] == [None, None]


def test_request_parameters_reach_the_model(halve: Any) -> None:
    (answer,) = halve.execute([x(8, options={"divisor": 4})])
    assert answer.arrays()["Y"] == 2


@pytest.fixture
def network(serving: ModuleType) -> Any:
    """A network that doubles, and keeps the sizes of the batches it was run on."""

    class Double(serving.BatchModel):  # type: ignore[name-defined, misc]
        def load(self, config: Any) -> None:
            self.batches: list[int] = []

        def run(self, batch: np.ndarray) -> np.ndarray:
            self.batches.append(len(batch))
            return batch * 2 if np.isfinite(batch).all() else batch / None  # type: ignore[operator]

    model = Double()
    model.initialize(arguments())
    return model


def faces(*numbers: float, **more: Any) -> InferenceRequest:
    return InferenceRequest({"input": np.array(numbers, np.float32)[:, None]}, **more)


def test_the_requests_of_a_batch_go_through_the_network_together_and_come_back_apart(network: Any) -> None:
    found = network.execute([faces(1, 2), faces(3), faces(4, 5, 6, 7)])
    assert network.batches == [7]
    assert [answer.arrays()["embeddings"][:, 0].tolist() for answer in found] == [[2, 4], [6], [8, 10, 12, 14]]


def test_a_network_is_not_run_for_those_whose_time_is_over(network: Any) -> None:
    late = {"deadline_ms": time.time() * 1000 - 1}
    found = network.execute([faces(1), faces(2, options=late), faces(3)])
    assert [answer.error and answer.error.code for answer in found] == [None, TritonError.CANCELLED, None]
    assert network.batches == [2]
    assert network.execute([faces(2, options=late)])[0].error.code == TritonError.CANCELLED
    assert network.batches == [2]


def test_a_network_that_fails_answers_every_request_of_the_batch(network: Any) -> None:
    found = network.execute([faces(np.nan), faces(np.nan)])
    assert [answer.error.message for answer in found] == ["internal: the model failed"] * 2
