"""The gateway's one way to Triton: a call with a deadline, its outputs checked, its failures turned into ours."""

import asyncio
import math
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import NoReturn

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
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
from .faces import Network
from .identity import Identity, read_identity
from .replicas import Replica, Replicas
from .tracing import CallSpan, untraced

Array = npt.NDArray[np.generic]
Parameters = Mapping[str, bool | int | float | str]

RETRY_SHARE = 0.1  # repeated calls may be at most this share of all
RETRY_BURST = 5.0

# INVALID_ARGUMENT that begins with a code of preprocess/errors.py is the caller's picture; any other is our mistake.
PICTURE_ERROR = re.compile(
    r"(?:in ensemble '[^']*', )*(?P<code>(?:image|parameter)_[a-z_]+): (?P<message>[^\n]{1,200})"
)

QUEUED_TOO_LONG = {  # what is said where a request's time was over before its turn came
    grpc.StatusCode.UNAVAILABLE: "Request timeout expired",  # by Triton
    grpc.StatusCode.CANCELLED: "late: ",  # by preprocess/serving.py; to a caller who still waits, if clocks differ
}

TOO_LATE = ("deadline_exceeded", "no answer in time; try again")
NOT_READY = ("triton_unavailable", "the models are not ready or too busy; try again")
STATUS: dict[grpc.StatusCode, tuple[type[ServiceError], str, str]] = {
    grpc.StatusCode.OK: (BadUpstream, "triton_failed", "Triton answered a failure without a cause"),
    grpc.StatusCode.CANCELLED: (ClientGone, "cancelled", "the request was cancelled"),
    grpc.StatusCode.UNKNOWN: (BadUpstream, "triton_failed", "Triton failed to answer"),
    grpc.StatusCode.INVALID_ARGUMENT: (Internal, "request_refused", "Triton refused the gateway's request"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, *TOO_LATE),
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
    """The replicas of Triton as one. Create it inside the event loop that will use it."""

    def __init__(self, urls: str, span: CallSpan = untraced) -> None:
        self._replicas = Replicas(urls)
        self._span = span
        self._retries = RETRY_BURST
        self._numbers = count()

    async def start(self) -> None:
        await self._replicas.start()

    async def close(self) -> None:
        await self._replicas.close()

    def left(self) -> int:
        """How many calls Triton works on though nobody waits for them any more."""
        return self._replicas.left()

    def ready(self) -> bool:
        """Whether a Triton with every model of the contract can answer."""
        return self._replicas.ready()

    def waits_for(self) -> dict[str, set[str]]:
        """The questions whose silence alone keeps it from being ready, with the models they go through: maybe busy."""
        return self._replicas.waits_for()

    def live(self) -> bool:
        """Whether a Triton is there, though not every model of it may answer."""
        return self._replicas.live()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: tuple[str, ...],
        deadline: float,
        parameters: Parameters | None = None,
    ) -> dict[str, Array]:
        """Run a model until `deadline`, a time of time.monotonic(); raises ServiceError.

        The arrays come back as the contract says (dtype, shape, a row for each row of a batch) and finite. A model is
        a function of its inputs, so a call that a replica could not take, or did not answer before it was found to
        hang, is repeated, once, on another.
        """
        call = Call(
            str(next(self._numbers)),
            model,
            [_input(name, array) for name, array in inputs.items()],
            [InferRequestedOutput(name) for name in outputs],
            deadline,
            dict(parameters or {}),
        )
        result = await self._send(call)
        if result.get_response().id != call.number:
            raise BadUpstream("triton_garbled", "Triton's answer is another request's")
        try:
            arrays = {name: result.as_numpy(name) for name in outputs}
        except (ValueError, TypeError, struct.error) as error:  # bytes that do not fill the shape they came with
            raise BadUpstream("triton_garbled", "Triton's answer cannot be read") from error
        rows = len(next(iter(inputs.values())))
        for name in outputs:
            self._check(MODELS[model], name, arrays[name], rows)
        return arrays

    def _check(self, model: Model, name: str, array: Array | None, rows: int) -> None:
        """Refuse an output that is not what the contract promises."""
        expected: Tensor = model.outputs[name]
        dims: list[int | None] = [rows] if model.batches else []
        dims += [self._replicas.embedding_size(dim) if isinstance(dim, str) else dim for dim in expected.dims]
        if array is None:
            raise BadUpstream("triton_garbled", f"Triton's answer lacks {name}")
        if array.dtype != expected.dtype:
            raise BadUpstream("triton_garbled", f"Triton's {name} has the wrong type")
        if array.ndim != len(dims) or any(
            want not in (None, -1, got) for want, got in zip(dims, array.shape, strict=True)
        ):
            raise BadUpstream("triton_garbled", f"Triton's {name} has the wrong shape")
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise BadUpstream("triton_garbled", f"Triton's {name} holds numbers that are not finite")

    async def identity(self, network: Network, deadline: float) -> Identity:
        """Which weights and preprocessing embed, also while the network fails; raises ServiceError."""
        able = self._replicas.able(f"{network}_embed") or self._replicas.believed()
        if not able:
            raise Busy(*NOT_READY)
        replica = able[0]  # all have the same weights, and whose turn it is only calls decide
        if network not in replica.identities:
            seconds = max(deadline - time.monotonic(), 0.001)
            try:
                replica.identities[network] = await read_identity(replica.client, network, seconds)
            except InferenceServerException as error:
                _raise(error)
        return replica.identities[network]

    async def _send(self, call: "Call") -> InferResult:
        """The answer of one replica or, while the budget of repeated calls lasts, of a second one."""
        self._retries = min(RETRY_BURST, self._retries + RETRY_SHARE)
        first = self._replicas.pick(call.model)
        if first is None:
            raise Busy(*NOT_READY)
        others = len(self._replicas.able(call.model)) > 1
        try:
            return await self._ask(first, call, first.lost if others else None)
        except InferenceServerException as error:
            second = self._replicas.pick(call.model, but=first)
            if error.status() != str(grpc.StatusCode.UNAVAILABLE) or second is None or self._retries < 1:
                _raise(error)
        self._retries -= 1
        try:
            return await self._ask(second, call)
        except InferenceServerException as error:
            _raise(error)

    async def _ask(self, replica: Replica, call: "Call", lost: asyncio.Future[None] | None = None) -> InferResult:
        """One call in what is left of the time, and not after `lost`; raises InferenceServerException."""
        seconds = call.deadline - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(*TOO_LATE)
        replica.in_flight += 1
        replica.asked(call.model)
        try:
            with self._span(call.model, replica.address) as metadata:
                result = await replica.client.infer(
                    call.model,
                    call.inputs,
                    request_id=call.number,
                    outputs=call.outputs,
                    timeout=math.ceil(seconds * 1e6),  # microseconds in each model's queue
                    client_timeout=seconds,
                    lost=lost,
                    headers=metadata,
                    parameters=call.parameters,
                )
            replica.answered(call.model)
            return result
        except InferenceServerException as error:
            if error.status() == str(grpc.StatusCode.INVALID_ARGUMENT):
                replica.answered(call.model)
            else:
                replica.poke()
            raise
        finally:
            replica.in_flight -= 1


@dataclass(frozen=True)
class Call:
    """What is asked of a replica, whichever it will be. Its number comes back with its answer."""

    number: str
    model: str
    inputs: list[InferInput]
    outputs: list[InferRequestedOutput]
    deadline: float
    parameters: dict[str, bool | int | float | str]


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
    message = error.message() or ""
    if status in QUEUED_TOO_LONG and QUEUED_TOO_LONG[status] in message:
        status = grpc.StatusCode.DEADLINE_EXCEEDED
    picture = PICTURE_ERROR.match(message)
    if status is grpc.StatusCode.INVALID_ARGUMENT and picture:
        kind: type[ServiceError] = BadPicture
        if picture["code"] == "image_too_large":
            kind = TooLarge
        elif picture["code"].startswith("parameter_"):
            kind = BadRequest
        raise kind(picture["code"], picture["message"]) from error
    kind, code, message = STATUS[status]
    raise kind(code, message) from error
