"""A connection to one Triton, whose calls are cut off only where Triton survives it.

Before 2.57, Triton may crash or go deaf to all requests when a call is cancelled, or its gRPC deadline passes, in the
moment of its answer (github.com/triton-inference-server/server, pull requests 7840 and 8078). Whoever waits for such a
Triton turns away without a word: the call runs to its end, but a model that comes to it too late leaves it undone.
"""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from tritonclient.grpc import InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

MIB = 1024 * 1024
# tritonclient drops its own defaults once any of these is given, so all that matter are here.
CHANNEL_ARGS = [
    ("grpc.max_send_message_length", 17 * MIB),  # a body of 16 MiB, decoded, and its envelope
    ("grpc.max_receive_message_length", 26 * MIB),  # 32 crops of 512x512 pixels, the largest a FaceNet takes, as PNG
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),  # gRPC's own is two minutes
    ("grpc.keepalive_time_ms", 2**31 - 1),  # no pings: Triton cuts off whoever pings more often than each 300 s
    ("grpc.enable_retries", 0),  # Triton.infer repeats a call itself, on another replica
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),  # Tritons stand in the same network
]
SURVIVES_FROM = (2, 57)
LAST_RESORT_SECONDS = 60.0  # that a call may outlive its caller: longer than any model takes that does not hang


class Connection(InferenceServerClient):  # type: ignore[misc]  # tritonclient has no types
    """tritonclient's client, with another way to end a call.

    answered_late: told the model of each answer that nobody waited for
    """

    def __init__(self, address: str, answered_late: Callable[[str], None]) -> None:
        super().__init__(address, channel_args=CHANNEL_ARGS)
        self._answered_late = answered_late
        self._survives = False  # until its version is known
        self._left: set[asyncio.Future[InferResult]] = set()

    @property
    def left(self) -> int:
        """How many calls run though nobody waits for them any more."""
        return len(self._left)

    async def meet(self, seconds: float) -> None:
        """Read Triton's version; raises InferenceServerException."""
        metadata = await self.get_server_metadata(client_timeout=seconds)
        numbers = re.match(r"(\d+)\.(\d+)", metadata.version)
        self._survives = numbers is not None and (int(numbers[1]), int(numbers[2])) >= SURVIVES_FROM

    async def infer(
        self,
        model_name: str,
        inputs: list[Any],
        *,
        client_timeout: float,
        lost: asyncio.Future[None] | None = None,
        parameters: Any = None,
        **others: Any,
    ) -> InferResult:
        """Triton's answer within `client_timeout` seconds; raises InferenceServerException.

        lost: once it is done, the call is given up as one to a server that is not available.
        """
        patience: float | None = None
        if not self._survives:
            patience = client_timeout
            late = {"deadline_ms": round((time.time() + patience) * 1000)}  # preprocess/serving.py heeds it
            parameters, client_timeout = {**(parameters or {}), **late}, client_timeout + LAST_RESORT_SECONDS
        ask = super().infer(model_name, inputs, client_timeout=client_timeout, parameters=parameters, **others)
        call = asyncio.ensure_future(ask)
        try:
            ends = (call,) if lost is None else (call, lost)
            await asyncio.wait(ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not call.done():
                self._leave(model_name, call)
        if call.done():
            return call.result()
        if lost is not None and lost.done():
            raise InferenceServerException("it hangs", status=str(grpc.StatusCode.UNAVAILABLE))
        raise InferenceServerException("no answer in time", status=str(grpc.StatusCode.DEADLINE_EXCEEDED))

    def _leave(self, model: str, call: "asyncio.Future[InferResult]") -> None:
        """Wait for a call no longer."""
        if self._survives:
            call.cancel()
        else:
            self._left.add(call)
            call.add_done_callback(partial(self._ended, model))

    def _ended(self, model: str, call: "asyncio.Future[InferResult]") -> None:
        self._left.discard(call)
        if not call.cancelled() and call.exception() is None:
            self._answered_late(model)
