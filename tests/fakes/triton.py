"""A Triton that says what a test tells it to: a real gRPC server with scripted answers.

with FakeTriton() as triton:                  # answers every contract model with plausible numbers
    triton.script("facenet_embed", fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"))
    ...
    assert triton.calls[-1].model == "facenet_embed"
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from client.canary import REQUEST_ID


@dataclass
class Call:
    """One inference request as it came in."""

    model: str
    inputs: dict[str, np.ndarray]
    outputs: list[str]
    parameters: dict[str, object]
    seconds: float | None  # what was left of its deadline
    metadata: dict[str, str]
    id: str
    cancelled: bool = False
    at: float = field(default_factory=time.monotonic)


Answer = dict[str, np.ndarray]
Script = Callable[[Call], Answer | Awaitable[Answer]]


class Failure(Exception):
    """Raised by a script: the gRPC status and text to fail with."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def fails(status: grpc.StatusCode, text: str) -> Script:
    def script(call: Call) -> Answer:
        raise Failure(status, text)

    return script


def sleeps(seconds: float, then: Script | None = None) -> Script:
    async def script(call: Call) -> Answer:
        await asyncio.sleep(seconds)
        return (then or DEFAULTS[call.model])(call)  # type: ignore[return-value]

    return script


def embedding_of(picture: bytes, length: int = 512) -> np.ndarray:
    """A unit vector float32[length] that belongs to these bytes and no others."""
    seed = int.from_bytes(hashlib.sha256(picture).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(length)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def held(release: threading.Event, then: Script | None = None) -> Script:
    """A script that answers once it is released."""

    async def script(call: Call) -> Answer:
        while not release.is_set():
            await asyncio.sleep(0.01)
        return (then or DEFAULTS[call.model])(call)  # type: ignore[return-value]

    return script


STURDY, BRITTLE = "2.57.0", "2.56.0"  # versions that survive a call's being cancelled, and that may not
BOX = np.array([[10.5, 20.25, 110.5, 140.75, 0.9990234375]], np.float32)


def _embed(call: Call) -> Answer:
    return {"EMBEDDING": np.stack([embedding_of(row[0]) for row in call.inputs["IMAGE"]])}


def _compare(call: Call) -> Answer:
    pair = _embed(call)["EMBEDDING"]
    return {"EMBEDDING": pair, **_distance_of(pair)}


def _distance_of(pair: np.ndarray) -> Answer:
    return {"DISTANCE": np.array([np.linalg.norm(pair[0] - pair[1])], np.float32)}


def _distance(call: Call) -> Answer:
    return _distance_of(call.inputs["EMBEDDING"])


def _photo(call: Call) -> Answer:
    length = {"facenet_photo": 512, "arcface_photo": 192}[call.model]
    embedding = embedding_of(call.inputs["IMAGE"][0], length)[None]
    return {**_detect(call), "EMBEDDING": embedding, "FACE_COUNT": np.array([1], np.int32)}


def _detect(call: Call) -> Answer:
    return {"BOXES": BOX, "LANDMARKS": np.zeros((1, 5, 2), np.float32)}


def _crops(call: Call) -> Answer:
    crops = np.array([call.inputs["IMAGE"][0]], np.object_)
    counted = {"FACE_COUNT": np.array([1], np.int32)}
    return {**_detect(call), **counted, "FACENET_CROPS": crops, "ARCFACE_CROPS": crops}


def _arcface(call: Call) -> Answer:
    rows = call.inputs["IMAGE"]
    found = np.ones((len(rows), 1), np.bool_)
    return {"EMBEDDING": np.stack([embedding_of(row[0], 192) for row in rows]), "FOUND": found}


DEFAULTS: dict[str, Callable[[Call], Answer]] = {
    "facenet_embed": _embed,
    "facenet_compare": _compare,
    "face_distance": _distance,
    "face_detect": _detect,
    "face_crops": _crops,
    "facenet_photo": _photo,
    "arcface_embed": _arcface,
    "arcface_photo": _photo,
}


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The server, on a free port of loopback, in a thread of its own."""

    def __init__(self, port: int = 0) -> None:
        self.calls: list[Call] = []
        self.ready = True
        self.version = STURDY
        self.not_ready: set[str] = set()
        self.embedding_ids: dict[str, str] = {}  # by network, instead of its name and -fake
        self.ill: set[str] = set()  # models that call themselves ready but fail the canary's question
        self.silent: set[str] = set()  # and those that leave it unanswered
        self.asked: dict[str, Answer] = {}  # what models answer the question, instead of what they always do
        self.queue: dict[str, float] = {}  # seconds that the question waits for its turn before a model
        self.port = port
        self.answered = dict.fromkeys(DEFAULTS, 0)  # how many requests it says that each model has answered
        self.counts_after = 0.0  # seconds from a question's answer until it counts
        self._scripts: dict[str, Script] = dict(DEFAULTS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def script(self, model: str, script: Script) -> None:
        """What `model` answers from now on."""
        self._scripts[model] = script

    def reset(self) -> None:
        """Forget the calls and the scripts; ready again."""
        self.calls.clear()
        self._scripts = dict(DEFAULTS)
        self.ready = True
        self.version = STURDY
        self.not_ready.clear()
        self.ill.clear()
        self.embedding_ids.clear()
        self.silent.clear()
        self.asked.clear()
        self.queue.clear()
        self.counts_after = 0.0

    def __enter__(self) -> "FakeTriton":
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Awaitable[object]) -> None:
        async def running() -> None:
            await work

        asyncio.run_coroutine_threadsafe(running(), self._loop).result(10)

    async def _start(self) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ]
        )
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="triton", version=self.version)

    async def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=self.ready)

    async def ModelReady(self, request, context):
        return service_pb2.ModelReadyResponse(ready=self.ready and request.name not in self.not_ready)

    async def ModelConfig(self, request, context):
        response = service_pb2.ModelConfigResponse()
        response.config.name = request.name
        identity = self.embedding_ids.get(request.name, f"{request.name}-fake")
        response.config.parameters["EMBEDDING_ID"].string_value = identity
        return response

    async def ModelMetadata(self, request, context):
        response = service_pb2.ModelMetadataResponse(name=request.name)
        response.inputs.add(name="EMBEDDING", datatype="FP32", shape=[2, 512])
        return response

    async def ModelInfer(self, request, context):
        call = _read(request, context)
        if request.id == REQUEST_ID:  # the gateway's own question, which no test counts
            if call.model in self.ill:
                await context.abort(grpc.StatusCode.INTERNAL, "Stub process is not healthy.")
            if call.model in self.silent:
                await asyncio.sleep(30)
            await asyncio.sleep(self.queue.get(call.model, 0))
            asyncio.get_running_loop().call_later(self.counts_after, self._count, call.model)
            return _write(call, self.asked.get(call.model, DEFAULTS[call.model](call)))
        self.calls.append(call)
        try:
            answer = self._scripts[call.model](call)
            if asyncio.iscoroutine(answer):
                answer = await answer
        except Failure as failure:
            await context.abort(failure.status, failure.text)
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        self.answered[call.model] += 1
        return _write(call, answer)

    def _count(self, model: str) -> None:
        self.answered[model] += 1

    async def ModelStatistics(self, request, context):
        response = service_pb2.ModelStatisticsResponse()
        for name, count in self.answered.items():
            response.model_stats.add(name=name).inference_stats.success.count = count
        return response


def _read(request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext) -> Call:
    inputs = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            array = deserialize_bytes_tensor(raw)
        else:
            array = np.frombuffer(raw, triton_to_np_dtype(tensor.datatype))
        inputs[tensor.name] = array.reshape(list(tensor.shape))
    parameters = {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in request.parameters.items()
    }
    outputs = [output.name for output in request.outputs]
    metadata = dict(context.invocation_metadata())
    return Call(request.model_name, inputs, outputs, parameters, context.time_remaining(), metadata, request.id)


def _write(call: Call, answer: Answer) -> service_pb2.ModelInferResponse:
    response = service_pb2.ModelInferResponse(model_name=call.model, id=call.id)
    for name in call.outputs:
        if name in answer:
            array = answer[name]
            datatype = np_to_triton_dtype(array.dtype)
            response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if datatype == "BYTES":
                raw = serialize_byte_tensor(array).item() if array.size else b""
            else:
                raw = array.tobytes()
            response.raw_output_contents.append(raw)
    return response
