"""The HTTP side of /v1: a body becomes a request, an answer becomes JSON."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import BadRequest
from ..settings import Settings
from ..triton import Triton
from .answers import to_json
from .body import read_body
from .models import models
from .openapi import document
from .operations import OPERATIONS


class Api:
    """The endpoints, with what they share."""

    def __init__(self, settings: Settings, triton: Triton) -> None:
        self.settings = settings
        self.triton = triton
        self.document = document(settings)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The routes of OPERATIONS, once the whole body is there."""
        operation, state = OPERATIONS[scope["path"]], scope["state"]
        asked = await read_body(Headers(scope=scope), state.pop("body"), operation.options, self.settings)
        if operation.pictures not in (None, len(asked.pictures)):
            raise BadRequest("images_wrong_number", f"send exactly {operation.pictures} pictures here")
        answer = await operation.work(self.triton, asked, state["deadline"])
        await _json(answer)(scope, receive, send)

    async def openapi(self, request: Request) -> Response:
        return _json(self.document)

    async def models(self, request: Request) -> Response:
        return _json(await models(self.triton, self.settings, request.state.deadline))


def _json(answer: object) -> Response:
    identity = getattr(answer, "embedding_id", None)
    headers = {"X-Embedding-Id": identity} if identity else {}
    return Response(to_json(answer), media_type="application/json", headers=headers)
