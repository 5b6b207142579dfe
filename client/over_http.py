"""The gateway in the place of Triton: the Python client's calls as HTTP requests, for where only HTTP gets through.

Photos go to /v1, crops that are already cut out to /service. The arrays that come back are those of Triton's models.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

from .errors import BadRequest, BadUpstream, Busy, DeadlineExceeded, Internal, ServiceError
from .faces import distances
from .identity import Identity
from .triton import Parameters

Array = NDArray[np.generic]
OPTIONS = {"apply_exif": "apply_exif", "min_face_size": "min_face_size", "threshold_onet": "min_score"}
GRPC_ONLY = ("threshold_pnet", "threshold_rnet", "factor", "deadline_ms")
CODE = re.compile(r"[a-z_]+")
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class Gateway:
    """One gateway, by its address http://host:port, with the API key that it may ask for."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"X-API-Key": key} if key else {}
        self._widths: dict[str, int] = {}

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(headers=self._headers)

    async def close(self) -> None:
        await self._session.close()

    async def ready(self) -> bool:
        return await self._answers("/health/ready")

    async def live(self) -> bool:
        """Whether it is there, though its models may not be ready."""
        return await self._answers("/health/live")

    async def identity(self, network: str, deadline: float) -> Identity:
        """Which weights and preprocessing embed; raises ServiceError."""
        with _readable():
            for model in json.loads(await self._request("GET", "/v1/models", deadline))["models"]:
                if model["name"] == network:
                    return Identity(
                        embedding_id=model["embedding_id"] or "",
                        weights_source=model["weights_source"],
                        weights_sha256=model["weights_sha256"],
                        preprocessing=model["preprocessing"],
                        engine=model["engine"],
                        precision=model["precision"],
                        dimension=model["dimension"] or -1,
                    )
        raise Internal("model_missing", f"the gateway does not know {network}")

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: tuple[str, ...],
        deadline: float,
        parameters: Parameters | None = None,
    ) -> dict[str, Array]:
        """As Triton.infer, for the models that take pictures; raises ServiceError."""
        pictures = [bytes(picture) for picture in inputs["IMAGE"].ravel()]
        network, _, kind = model.partition("_")
        with _readable():
            if kind in ("detect", "photo"):
                return await self._photo(None if kind == "detect" else network, pictures[0], deadline, parameters or {})
            answer = await self._crops(network, pictures, deadline)
            if kind == "compare":
                pair = answer["EMBEDDING"].astype(np.float32)
                answer["DISTANCE"] = distances(pair[:1], pair[1:])[0]
            return answer

    async def _answers(self, path: str) -> bool:
        try:
            await self._request("GET", path, time.monotonic() + 2)
        except ServiceError:
            return False
        return True

    async def _crops(self, network: str, pictures: list[bytes], deadline: float) -> dict[str, Array]:
        if network == "arcface":
            crops = [await self._arcface_crop(picture, deadline) for picture in pictures]
            width = next((len(crop) for crop in crops if crop), 0) or await self._width(network, deadline)
            return _stack(crops, width)
        rows = await self._post("/service/FaceEmbedModel", {"images": _texts(pictures)}, deadline)
        embeddings = np.array(json.loads(rows), np.float32)
        if embeddings.ndim != 2 or len(embeddings) != len(pictures):
            raise ValueError("not a row for each picture")
        return {"EMBEDDING": embeddings}

    async def _photo(
        self, network: str | None, picture: bytes, deadline: float, parameters: Parameters
    ) -> dict[str, Array]:
        _require_options(parameters)
        asked: dict[str, Any] = {"images": _texts([picture])}
        asked |= {OPTIONS[name]: value for name, value in parameters.items()}
        if network:
            asked |= {"model": network, "encoding": "base64"}
        answer = await self._post("/v1/embed" if network else "/v1/detect", asked, deadline)
        (image,) = json.loads(answer)["images"]
        faces = image["faces"]
        arrays: dict[str, Array] = {
            "BOXES": np.array([[*face["box"].values(), face["score"]] for face in faces], np.float32).reshape(-1, 5),
            "LANDMARKS": np.array(
                [[face["landmarks"][point] for point in POINTS] for face in faces], np.float32
            ).reshape(-1, 5, 2),
            "FACE_COUNT": np.array([image["face_count"]], np.int32),
        }
        if network:
            rows = [np.frombuffer(base64.b64decode(face["embedding"]), "<f4") for face in faces]
            none = [] if rows else [np.zeros(await self._width(network, deadline), np.float32)]
            arrays["EMBEDDING"] = np.stack(rows or none)
        return arrays

    async def _width(self, network: str, deadline: float) -> int:
        """How many numbers an embedding has, asked once; 0 where the network's configuration leaves it open."""
        if network not in self._widths:
            self._widths[network] = max((await self.identity(network, deadline)).dimension, 0)
        return self._widths[network]

    async def _arcface_crop(self, picture: bytes, deadline: float) -> list[float] | None:
        """A crop's embedding; None where ArcFace's own detector sees no face in it."""
        answer = (await self._request("POST", "/service/InsightFaceModel", deadline, picture)).decode()
        return None if answer == "None" else [float(number) for number in answer.split()]

    async def _post(self, path: str, document: dict[str, Any], deadline: float) -> bytes:
        return await self._request("POST", path, deadline, json.dumps(document).encode())

    async def _request(self, method: str, path: str, deadline: float, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if path.startswith("/v1") else {}
        seconds = aiohttp.ClientTimeout(total=max(deadline - time.monotonic(), 0.001))
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=headers, timeout=seconds
            ) as answer:
                text = await answer.read()
        except asyncio.TimeoutError as error:  # another class before Python 3.11
            raise DeadlineExceeded("deadline_exceeded", "no answer in time; try again") from error
        except aiohttp.ClientError as error:
            raise Busy("gateway_unavailable", "the gateway does not answer; try again") from error
        if answer.status != 200:
            raise _failure(answer.status, text)
        return text


def _require_options(parameters: Parameters) -> None:
    """Raise BadRequest for a parameter that /v1 does not take."""
    known = f"over HTTP there are {', '.join(OPTIONS)}, over gRPC also {', '.join(GRPC_ONLY)}"
    for name in sorted(parameters.keys() - OPTIONS):
        wrong = f"{name} can be given over gRPC only" if name in GRPC_ONLY else f"there is no parameter {name}"
        raise BadRequest("parameter_invalid", f"{wrong}; {known}")


def _failure(status: int, text: bytes) -> ServiceError:
    """The gateway's error as it raised it: JSON on /v1, `code: message` on /service."""
    try:
        error = json.loads(text)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, _, message = text.decode("utf-8", "replace")[:200].partition(": ")
    if not CODE.fullmatch(code):  # some proxy's own page
        code, message = "gateway_failed", f"the gateway answered {status}"
    kinds = {kind.status: kind for kind in ServiceError.__subclasses__()}
    return kinds.get(status, BadUpstream)(code, message)


@contextmanager
def _readable() -> Iterator[None]:
    """Has an answer of another form, such as a proxy's own page, raise BadUpstream."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadUpstream("gateway_garbled", "the gateway's answer cannot be read") from error


def _texts(pictures: list[bytes]) -> list[str]:
    return [base64.b64encode(picture).decode() for picture in pictures]


def _stack(rows: list[list[float] | None], length: int) -> dict[str, Array]:
    """Rows of one length, zeros for those that are missing, and which are not."""
    return {
        "EMBEDDING": np.array([row or [0.0] * length for row in rows], np.float32).reshape(len(rows), length),
        "FOUND": np.array([[row is not None] for row in rows]),
    }
