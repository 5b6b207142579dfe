"""The Python client: photos in, numpy arrays out, over gRPC to Triton or over HTTP to the gateway.

    from client import FaceClient
    with FaceClient("127.0.0.1:8001") as faces:
        print(faces.embed(open("photo.jpg", "rb").read()).embeddings)

`AsyncFaceClient` is the same for asyncio. Failures raise ServiceError (client/errors.py) with a stable `code`.
A call is repeated while the server is busy or away, until its time is over: every model is a function of its input.
"""

import asyncio
import concurrent.futures
import logging
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .contract import MODELS
from .errors import Busy, ClientGone, Internal, TooLarge
from .faces import (
    Comparison,
    EmbeddedCrops,
    EmbeddedFaces,
    Faces,
    Network,
    Photo,
    compared,
    detected,
    embedded,
    encode,
    require_network,
    require_several,
)
from .over_http import Gateway
from .thresholds import THRESHOLDS
from .triton import Parameters, Triton, images

DEFAULT_URL = "127.0.0.1:8001"
ADDRESS = re.compile(r"https?://[^\s,]+|[^\s,/]+:\d{1,5}(\s*,\s*[^\s,/]+:\d{1,5})*")
TIMEOUT_SECONDS = 30.0
MAX_BATCH = 32  # crops in one request, as the models take
MAX_BATCH_BYTES = 11 * 1024 * 1024  # of crops in one request: in base64 they fit a gateway's body of 16 MiB
CLOSED = ("closed", "the client was closed")
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.1, 2.0  # between two tries; each is twice the one before

logging.getLogger("client").addHandler(logging.NullHandler())  # a library stays silent unless asked
Result = TypeVar("Result")


class AsyncFaceClient:
    """Faces and their embeddings from a running server. Use it within one event loop, as `async with` or then `close`.

    url: Triton's gRPC address, host:port, or several with commas between; or http://host:port of a gateway
    timeout_seconds: for each call, its repetitions included
    key: the API key that a gateway may ask for; blanks and line ends around it are no part of it

    A photo is an encoded JPEG, PNG, WebP or BMP of at most 8 MiB, or pixels uint8[height, width, 3] in RGB.
    `parameters` are the models' own: apply_exif, min_face_size, threshold_onet; over gRPC also threshold_pnet,
    threshold_rnet, factor. A photo or model of another kind is a TypeError or ValueError before anything is sent.
    """

    def __init__(
        self, url: str = DEFAULT_URL, timeout_seconds: float = TIMEOUT_SECONDS, key: str | None = None
    ) -> None:
        if not ADDRESS.fullmatch(url):
            raise ValueError(f"{url!r} is no address; give host:port of Triton's gRPC or http://host:port of a gateway")
        key = None if key is None else key.strip()
        if key is not None and not (key and key.isascii() and key.isprintable()):  # headers carry no others
            raise ValueError("the key must be a line of printable ASCII characters")
        self.url, self.timeout_seconds, self._key = url, timeout_seconds, key
        self._server: asyncio.Future[Triton | Gateway] | None = None

    async def ready(self) -> bool:
        """Whether the server and all of its models can answer now."""
        server = await self._connected()
        return await server.ready() if isinstance(server, Gateway) else server.ready()

    async def reachable(self) -> bool:
        """Whether the server is there, ready or not."""
        server = await self._connected()
        return await server.live() if isinstance(server, Gateway) else server.live()

    async def detect(self, photo: Photo, parameters: Parameters | None = None) -> Faces:
        """Every face of a photo."""
        return detected(await self._ask("face_detect", np.array([encode(photo)], np.object_), parameters))

    async def embed(
        self, photo: Photo, model: Network = "facenet", parameters: Parameters | None = None
    ) -> EmbeddedFaces:
        """The best 32 faces of a photo and their embeddings."""
        require_network(model)
        return embedded(await self._ask(f"{model}_photo", np.array([encode(photo)], np.object_), parameters))

    async def compare(self, first: Photo, second: Photo, model: Network = "facenet") -> Comparison:
        """The distance between the largest faces of two photos, and whether it is small enough for one person."""
        faces = await asyncio.gather(self.embed(first, model), self.embed(second, model))
        return compared(*faces, THRESHOLDS.get(await self.embedding_id(model)))

    async def embed_crops(self, crops: Sequence[Photo], model: Network = "facenet") -> EmbeddedCrops:
        """Embeddings of faces that are already cut out, as UAI's services take them."""
        require_network(model)
        require_several(crops)
        parts = [part for batch in batches(crops) for part in await self._embed_batch(batch, model)]
        if not parts:
            return EmbeddedCrops(np.empty((0, 0), np.float32), np.empty(0, np.bool_))
        width = max(part.embeddings.shape[1] for part in parts)  # 0 where neither a face nor the gateway tells it
        rows = [np.pad(part.embeddings, ((0, 0), (0, width - part.embeddings.shape[1]))) for part in parts]
        return EmbeddedCrops(np.concatenate(rows), np.concatenate([part.found for part in parts]))

    async def compare_crops(self, first: Photo, second: Photo) -> float:
        """The distance of two faces that are already cut out, by FaceNet, as UAI's FaceCompareModel."""
        outputs = await self._ask("facenet_compare", images(encode(first), encode(second)))
        return float(outputs["DISTANCE"].astype(np.float32)[0])

    async def embedding_id(self, model: Network = "facenet") -> str:
        """Which weights and preprocessing embed: embeddings of two identities must not be compared."""
        require_network(model)
        identity = await self._repeat(lambda server, end: server.identity(model, end))
        if not identity.embedding_id:
            raise Internal("model_unprepared", f"{model} does not say its weights; run scripts/prepare-models")
        return identity.embedding_id

    async def close(self) -> None:
        """Let go of the connection; another call opens a new one."""
        if self._server is not None:
            server, self._server = await self._server, None
            await server.close()

    async def __aenter__(self) -> "AsyncFaceClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _connected(self) -> Triton | Gateway:
        if self._server is None:
            self._server = asyncio.ensure_future(_connect(self.url, self._key))
        return await asyncio.shield(self._server)

    async def _ask(
        self, model: str, pictures: NDArray[np.generic], parameters: Parameters | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        outputs = tuple(MODELS[model].outputs)
        return await self._repeat(
            lambda triton, end: triton.infer(model, {"IMAGE": pictures}, outputs, end, parameters)
        )

    async def _embed_batch(self, batch: list[bytes], model: Network) -> list[EmbeddedCrops]:
        """Each half by itself where the crops have too many pixels together."""
        try:
            outputs = await self._ask(f"{model}_embed", images(*batch))
        except TooLarge:
            half = len(batch) // 2
            if not half:
                raise
            return await self._embed_batch(batch[:half], model) + await self._embed_batch(batch[half:], model)
        found = outputs.get("FOUND", np.ones((len(batch), 1))).astype(np.bool_)[:, 0]
        embeddings = outputs["EMBEDDING"].astype(np.float32)
        embeddings[~found] = 0  # over gRPC the network embeds even what shows no face
        return [EmbeddedCrops(embeddings, found)]

    async def _repeat(self, call: Callable[[Triton | Gateway, float], Awaitable[Result]]) -> Result:
        """The result of `call`, which is given its deadline; while the server is busy, of another try."""
        deadline = time.monotonic() + self.timeout_seconds
        server = await self._connected()
        attempt = 0
        while True:
            try:
                return await call(server, deadline)
            except Busy:
                wait = pause(attempt)
                if time.monotonic() + wait >= deadline:
                    raise
            await asyncio.sleep(wait)
            attempt += 1


async def _connect(url: str, key: str | None) -> Triton | Gateway:
    server = Gateway(url, key) if "://" in url else Triton(url)
    await server.start()
    return server


def batches(crops: Iterable[Photo]) -> Iterator[list[bytes]]:
    """Encoded crops in their order, as many together as one request may hold; raises TooLarge."""
    batch: list[bytes] = []
    for crop in map(encode, crops):
        if len(batch) == MAX_BATCH or (batch and sum(map(len, batch)) + len(crop) > MAX_BATCH_BYTES):
            yield batch
            batch = []
        batch.append(crop)
    if batch:
        yield batch


def pause(attempt: int) -> float:
    """Seconds before the next try: longer each time, and by chance, so that many clients do not come back at once."""
    return random.uniform(0.5, 1) * float(min(FIRST_PAUSE_SECONDS * 2**attempt, LAST_PAUSE_SECONDS))


class FaceClient:
    """AsyncFaceClient for programs without an event loop; threads may share it. Use it as `with`, or then `close`."""

    def __init__(
        self, url: str = DEFAULT_URL, timeout_seconds: float = TIMEOUT_SECONDS, key: str | None = None
    ) -> None:
        self._client = AsyncFaceClient(url, timeout_seconds, key)
        self._calls: set[asyncio.Task[Any]] = set()
        self._closing = threading.Lock()  # no call begins after `close` has
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="FaceClient", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether the server and all of its models can answer now."""
        return self._run(self._client.ready())

    def reachable(self) -> bool:
        """Whether the server is there, ready or not."""
        return self._run(self._client.reachable())

    def detect(self, photo: Photo, parameters: Parameters | None = None) -> Faces:
        """Every face of a photo."""
        return self._run(self._client.detect(photo, parameters))

    def embed(self, photo: Photo, model: Network = "facenet", parameters: Parameters | None = None) -> EmbeddedFaces:
        """The best 32 faces of a photo and their embeddings."""
        return self._run(self._client.embed(photo, model, parameters))

    def compare(self, first: Photo, second: Photo, model: Network = "facenet") -> Comparison:
        """The distance between the largest faces of two photos, and whether it is small enough for one person."""
        return self._run(self._client.compare(first, second, model))

    def embed_crops(self, crops: Sequence[Photo], model: Network = "facenet") -> EmbeddedCrops:
        """Embeddings of faces that are already cut out, as UAI's services take them."""
        return self._run(self._client.embed_crops(crops, model))

    def compare_crops(self, first: Photo, second: Photo) -> float:
        """The distance of two faces that are already cut out, by FaceNet, as UAI's FaceCompareModel."""
        return self._run(self._client.compare_crops(first, second))

    def embedding_id(self, model: Network = "facenet") -> str:
        """Which weights and preprocessing embed: embeddings of two identities must not be compared."""
        return self._run(self._client.embedding_id(model))

    def close(self) -> None:
        """End the connection, its thread and the calls of other threads; the client cannot be used again."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> "FaceClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _end(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._client.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a call; raises ServiceError, ClientGone where the client is closed before."""
        with self._closing:
            if self._closed:
                work.close()
                raise ClientGone(*CLOSED)
            running = asyncio.run_coroutine_threadsafe(self._known(work), self._loop)
        try:
            return running.result()
        except concurrent.futures.CancelledError:
            raise ClientGone(*CLOSED) from None
        except BaseException:  # Ctrl-C too must not leave the call running
            running.cancel()
            raise

    async def _known(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work where `_end` sees it."""
        call = asyncio.ensure_future(work)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await call
