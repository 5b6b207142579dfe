"""What every model.py shares: Triton's requests to arrays, arrays to responses, errors to codes.

The only module that knows Triton's Python backend.
"""

import json
import logging
import math
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from preprocess.engines import cores
from preprocess.errors import InputError
from preprocess.interruption import Interrupted, interruptible
from preprocess.watched import Watched

Arrays = dict[str, NDArray[Any]]

WORK_SECONDS = 9.0  # of one call of Triton's
# After which client/stubs.py takes a model for hung: the work and the longest step that Python cannot interrupt; for a
# network, which cannot be interrupted at all, its largest batch on a slow and busy core.
CALL_SECONDS, RUN_SECONDS = 14.0, 30.0
# Of processor time in one step of a library: decoding 25 megapixels has steps of up to 0.6 s on a core of an AMD EPYC.
STEP_SECONDS = 2.0

log = logging.getLogger("face")


@dataclass(frozen=True)
class Config:
    """What Triton tells a model when it starts: its version folder, its `parameters`, and what it may compute on.

    threads: its share of the cores; gpu: the GPU's number, or None for the CPU
    """

    directory: Path
    parameters: Mapping[str, str]
    threads: int
    gpu: int | None

    @classmethod
    def read(cls, args: Mapping[str, str]) -> "Config":
        model = json.loads(args["model_config"])
        on_gpu = args["model_instance_kind"] == "GPU"
        if not on_gpu and os.environ.get("FACE_GPU") == "yes" and "ENGINE" in model["parameters"]:
            raise ValueError("FACE_GPU=yes demands a GPU and Triton sees none")
        instances = sum(group["count"] for group in model["instance_group"])
        return cls(
            directory=Path(args["model_repository"]) / args["model_version"],
            parameters={key: value["string_value"] for key, value in model["parameters"].items()},
            threads=max(1, cores() // instances),
            gpu=int(args["model_instance_device_id"]) if on_gpu else None,
        )


@dataclass(frozen=True)
class Request:
    """One request: its input arrays, its Triton request parameters, and the names of the outputs it wants.

    seconds: until nobody waits for it
    """

    inputs: Arrays
    parameters: Mapping[str, Any]
    wanted: frozenset[str]
    seconds: float


class PythonModel:
    """A model that answers one request after the other, so that a bad one fails alone.

    A child defines `load(config)` and `infer(request) -> outputs`.
    """

    load: Callable[[Config], None]
    infer: Callable[[Request], Arrays]

    def initialize(self, args: Mapping[str, str]) -> None:
        self.watched = Watched(args["model_name"], CALL_SECONDS, STEP_SECONDS)
        self.load(Config.read(args))

    def execute(self, requests: list[Any]) -> list[Any]:
        with self.watched.call():
            if self.watched.overfull():
                return [_busy() for _ in requests]
            end = time.monotonic() + WORK_SECONDS  # of all together: what hangs is told by its silence
            return [self._respond(request, end) for request in requests]

    def _respond(self, request: Any, end: float) -> Any:
        """The answer; an error where it is not there at `end`, of time.monotonic(), or once nobody waits for it."""

        def awaited() -> bool:
            self.watched.sign()
            return not request.is_cancelled()

        if not awaited():
            return _error("the caller has gone", pb_utils.TritonError.CANCELLED)
        try:
            asked = _read(request)
            with interruptible(min(asked.seconds, end - time.monotonic()), awaited):
                return _response(self.infer(asked))
        except Interrupted:
            return _late()
        except InputError as error:
            return _error(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:
            return _internal_error(error)


class BatchModel:
    """A network: the requests of a batch go through it together, those apart for which nobody waits any more.

    A child defines `load(config)` and `run(batch) -> batch`; its config names one input and one output.
    """

    load: Callable[[Config], None]
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def initialize(self, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.input, self.output = config["input"][0]["name"], config["output"][0]["name"]
        self.watched = Watched(args["model_name"], RUN_SECONDS)
        self.load(Config.read(args))

    def execute(self, requests: list[Any]) -> list[Any]:
        with self.watched.call():
            if self.watched.overfull():
                return [_busy() for _ in requests]
            late = [_is_late(request) for request in requests]
            answers = iter(self._answer([request for request, over in zip(requests, late, strict=True) if not over]))
            return [_late() if over else next(answers) for over in late]

    def _answer(self, requests: list[Any]) -> list[Any]:
        if not requests:
            return []
        parts = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        try:
            rows = self.run(parts[0] if len(parts) == 1 else np.concatenate(parts))
        except Exception as error:
            return [_internal_error(error) for _ in requests]
        ends = np.cumsum([len(part) for part in parts])
        return [_response({self.output: row}) for row in np.split(rows, ends[:-1])]


def _busy() -> Any:
    return _error("busy: too many requests wait; try again", pb_utils.TritonError.UNAVAILABLE)


def _is_late(request: Any) -> bool:
    """Whether the request parameter `deadline_ms`, in Unix time, is over."""
    deadline = json.loads(request.parameters() or "{}").get("deadline_ms", math.inf)
    return isinstance(deadline, int | float) and deadline < time.time() * 1000


def _late() -> Any:
    return _error("late: the request's time was over", pb_utils.TritonError.CANCELLED)


def _read(request: Any) -> Request:
    """Of the request parameters, `deadline_ms` is in Unix time; raises InputError where it is odd."""
    parameters = json.loads(request.parameters() or "{}")
    deadline = parameters.pop("deadline_ms", math.inf)
    if not isinstance(deadline, int | float):
        raise InputError("parameter_invalid", "deadline_ms must be a number, milliseconds of Unix time")
    return Request(
        inputs={tensor.name(): tensor.as_numpy() for tensor in request.inputs()},
        parameters=parameters,
        wanted=frozenset(request.requested_output_names()),
        seconds=deadline / 1000 - time.time(),
    )


def _internal_error(error: Exception) -> Any:
    # Only the type and the place: a library's text may hold paths or parts of the picture.
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("a model failed with %s in %s, line %s", type(error).__name__, place.name, place.lineno)
    return _error("internal: the model failed", pb_utils.TritonError.INTERNAL)


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))


def _response(outputs: Arrays) -> Any:
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in outputs.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)
