"""The gateway's one way to Triton: a call with a deadline, its outputs checked, its failures turned into ours."""

import asyncio
import math
import re
import time
from collections.abc import Mapping
from typing import NoReturn

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from .contract import MODELS, Model, Tensor
from .errors import (
    BadPicture,
    BadRequest,
    BadUpstream,
    Busy,
    ClientGone,
    DeadlineExceeded,
    Internal,
    ServiceError,
    TooLarge,
)

Array = npt.NDArray[np.generic]
Parameters = Mapping[str, bool | int | float | str]

MIB = 1024 * 1024
# tritonclient drops its own defaults once any of these is given, so all that matter are here.
CHANNEL_ARGS = [
    ("grpc.max_send_message_length", 17 * MIB),  # a body of 16 MiB, decoded, and its envelope
    ("grpc.max_receive_message_length", MIB),  # 32 faces with embeddings and boxes are under 100 KiB
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),  # gRPC's own is two minutes
    ("grpc.keepalive_time_ms", 2**31 - 1),  # no pings: Triton cuts off whoever pings more often than each 300 s
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
PROBE_SECONDS = 1.0

# INVALID_ARGUMENT that begins with a code of preprocess/errors.py is the caller's picture; any other is our mistake.
PICTURE_ERROR = re.compile(
    r"(?:in ensemble '[^']*', )*(?P<code>(?:image|parameter)_[a-z_]+): (?P<message>[^\n]{1,200})"
)

NOT_READY = ("triton_unavailable", "the models are not ready or too busy; try again")
STATUS: dict[grpc.StatusCode, tuple[type[ServiceError], str, str]] = {
    grpc.StatusCode.OK: (BadUpstream, "triton_failed", "Triton answered a failure without a cause"),
    grpc.StatusCode.CANCELLED: (ClientGone, "cancelled", "the request was cancelled"),
    grpc.StatusCode.UNKNOWN: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.INVALID_ARGUMENT: (Internal, "request_refused", "Triton refused the gateway's request"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "deadline_exceeded", "no answer in time; try again"),
    grpc.StatusCode.NOT_FOUND: (Internal, "model_missing", "a model is missing from Triton"),
    grpc.StatusCode.ALREADY_EXISTS: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.PERMISSION_DENIED: (Internal, "triton_refused", "Triton refused the gateway"),
    grpc.StatusCode.UNAUTHENTICATED: (Internal, "triton_refused", "Triton refused the gateway"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Busy, *NOT_READY),
    grpc.StatusCode.FAILED_PRECONDITION: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.ABORTED: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.OUT_OF_RANGE: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.UNIMPLEMENTED: (Internal, "model_missing", "Triton does not know the gateway's request"),
    grpc.StatusCode.INTERNAL: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.UNAVAILABLE: (Busy, *NOT_READY),
    grpc.StatusCode.DATA_LOSS: (BadUpstream, "triton_failed", "Triton failed to answer"),
}


class Triton:
    """One Triton, called over gRPC. Create it inside the event loop that will use it."""

    def __init__(self, url: str) -> None:
        self._client = InferenceServerClient(url, channel_args=CHANNEL_ARGS)

    async def close(self) -> None:
        await self._client.close()

    async def ready(self) -> bool:
        """Whether Triton and every model of the contract say that they can answer, within a second or so."""
        probes = [self._client.is_server_ready(client_timeout=PROBE_SECONDS)]
        probes += [self._client.is_model_ready(model, client_timeout=PROBE_SECONDS) for model in MODELS]
        return all(answer is True for answer in await asyncio.gather(*probes, return_exceptions=True))

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: tuple[str, ...],
        deadline: float,
        parameters: Parameters | None = None,
    ) -> dict[str, Array]:
        """Run a model until `deadline`, a time of time.monotonic(); raises ServiceError.

        The arrays come back as the contract says (dtype, shape, a row for each row of a batch) and finite.
        """
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("deadline_exceeded", "no answer in time; try again")
        try:
            result = await self._client.infer(
                model,
                [_input(name, array) for name, array in inputs.items()],
                outputs=[InferRequestedOutput(name) for name in outputs],
                timeout=math.ceil(seconds * 1e6),  # microseconds in each model's queue
                client_timeout=seconds,
                parameters=dict(parameters) if parameters else None,
            )
            arrays = {name: result.as_numpy(name) for name in outputs}
        except InferenceServerException as error:
            _raise(error)
        except (ValueError, TypeError) as error:  # bytes that do not fill the shape they came with
            raise BadUpstream("triton_garbled", "Triton's answer cannot be read") from error
        rows = len(next(iter(inputs.values())))
        for name in outputs:
            _check(MODELS[model], name, arrays[name], rows)
        return arrays


def images(*pictures: bytes) -> Array:
    """Encoded pictures as BYTES[N,1]."""
    return np.array(pictures, dtype=np.object_).reshape(-1, 1)


def _input(name: str, array: Array) -> InferInput:
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _raise(error: InferenceServerException) -> NoReturn:
    """The ServiceError for a failed call; nothing of Triton's text but our own code and message is passed on."""
    status = next((code for code in grpc.StatusCode if str(code) == error.status()), grpc.StatusCode.UNKNOWN)
    picture = PICTURE_ERROR.match(error.message() or "")
    if status is grpc.StatusCode.INVALID_ARGUMENT and picture:
        kind: type[ServiceError] = BadPicture
        if picture["code"] == "image_too_large":
            kind = TooLarge
        elif picture["code"].startswith("parameter_"):
            kind = BadRequest
        raise kind(picture["code"], picture["message"]) from error
    kind, code, message = STATUS[status]
    raise kind(code, message) from error


def _check(model: Model, name: str, array: Array | None, rows: int) -> None:
    """Refuse an output that is not what the contract promises."""
    expected: Tensor = model.outputs[name]
    dims = (rows, *expected.dims) if model.batches else expected.dims
    if array is None:
        raise BadUpstream("triton_garbled", f"Triton's answer lacks {name}")
    if array.dtype != expected.dtype:
        raise BadUpstream("triton_garbled", f"Triton's {name} has the wrong type")
    if array.ndim != len(dims) or any(want not in (-1, got) for want, got in zip(dims, array.shape, strict=True)):
        raise BadUpstream("triton_garbled", f"Triton's {name} has the wrong shape")
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise BadUpstream("triton_garbled", f"Triton's {name} holds numbers that are not finite")
