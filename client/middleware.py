"""Small ASGI classes, outermost first: RequestId, Errors, Head, Deadline, BodyLimit; round /service also WholeBody and
UntilGone, with those of `admission` round either.

What they learn of a request they leave in scope["state"]: `request_id`, `deadline` (of time.monotonic()), `body`,
and for the log `status`, `code`, `bytes_in`, `bytes_out`.
"""

import asyncio
import contextlib
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .errors import (
    CLOSE,
    AddressTooLong,
    BadRequest,
    Busy,
    ClientGone,
    DeadlineExceeded,
    HeadTooLarge,
    Internal,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    ServiceError,
    TooLarge,
    UnsupportedMedia,
)
from .settings import Settings

logger = logging.getLogger("client")

LINGER_SECONDS = 2.0
CRUMBS = "body_in_crumbs"
NOTHING_HERE = ("not_found", "there is nothing at this address")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Names the request, by the caller's X-Request-Id where that is short and plain, and marks its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope["state"] = {"request_id": request_id, "status": 0, "code": "", "bytes_in": 0, "bytes_out": 0}

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["Cache-Control"] = "no-store"
            elif message["type"] == "http.response.body":
                state["bytes_out"] += len(message.get("body", b""))
            await send(message)

        await self.app(scope, receive, marked)


class Errors:
    """Turns whatever is raised below into the one answer of errors.response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # starlette's router then raises 404 and 405 and leaves the answer to us
        body = Body(scope, receive)
        error = await self._failure(scope, body.receive, send)
        if error is not None:
            await self._answer(error, scope, body, send)

    async def _failure(self, scope: Scope, receive: Receive, send: Send) -> ServiceError | None:
        """What the request came to, where it was not answered below."""
        try:
            await self.app(scope, receive, send)
        except ServiceError as error:
            return error
        except HTTPException as error:
            return _from_starlette(error)
        except asyncio.CancelledError:
            # The process ends and has waited long enough; or a channel was closed under a call, and its Triton leaves.
            return Busy("stopping", "Triton or the server is stopping; try again")
        except Exception as error:
            # The type and place are enough to find it; the text might hold what a caller sent.
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_name}:{place.tb_lineno}" if place else "?"
            logger.error("unexpected %s in %s", type(error).__name__, where)
            error.__traceback__ = None
            return Internal("internal", "the server failed; try again")
        return None

    async def _answer(self, error: ServiceError, scope: Scope, body: "Body", send: Send) -> None:
        # Its frames hold the body and the connection, in a cycle that only the collector would end.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        state = scope["state"]
        state["code"] = error.code
        if isinstance(error, ClientGone):
            state["status"] = error.status
        elif not state["status"]:
            await errors.response(error, scope["path"], state["request_id"])(scope, body.receive, send)
            if body.coming and error.code != CRUMBS:  # to read on is the very cost that their limit is to spare us
                await body.linger()


class Body:
    """What comes of a request's body, and whether more is coming: of one that waits for 100 Continue, nothing is
    until somebody reads."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.coming = "expect" not in Headers(scope=scope)

    async def receive(self) -> Message:
        message = await self._receive()
        self.coming = message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Drop what still comes of a refused body, for a while: closing at once would reset the connection, and a
        caller who is busy sending would never read why."""
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):  # the latter where the process ends
            await asyncio.wait_for(self._drop(), LINGER_SECONDS)

    async def _drop(self) -> None:
        while self.coming:
            await self.receive()


def _from_starlette(error: HTTPException) -> ServiceError:
    if error.status_code == 405:
        headers = dict(error.headers or {})
        return MethodNotAllowed("method_not_allowed", f"use {headers.get('Allow')} here", headers)
    return NotFound(*NOTHING_HERE)


class Head:
    """Refuses what the HTTP server lets through and no honest client sends."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.most = settings.max_header_bytes
        self.most_of_a_line = settings.max_header_line_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lines = [len(name) + len(value) for name, value in scope["headers"]]
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")  # granian adds an empty one where there is none
        if len(scope["raw_path"]) + len(scope["query_string"]) > self.most_of_a_line:
            raise AddressTooLong("address_too_long", f"the address has more than {self.most_of_a_line} bytes", CLOSE)
        if sum(lines) > self.most or max(lines, default=0) > self.most_of_a_line:
            raise HeadTooLarge(
                "headers_too_large", f"headers may have {self.most} bytes, a line {self.most_of_a_line}", CLOSE
            )
        if not scope["path"].isprintable():  # starlette's routes would overlook a line feed at the end
            raise NotFound(*NOTHING_HERE)
        if len(hosts) > 1 or (not any(hosts) and scope["http_version"] == "1.1"):
            raise BadRequest("host", "send exactly one Host header", CLOSE)
        if headers.getlist("transfer-encoding") not in ([], ["chunked"]):
            raise BadRequest("transfer_encoding", "the only Transfer-Encoding here is chunked", CLOSE)
        await self.app(scope, receive, send)


class Deadline:
    """One clock from the end of the headers: 408 while the body still comes, 504 after it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.seconds = settings.deadline_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["deadline"] = time.monotonic() + self.seconds
        waiting = whole = False

        async def watched() -> Message:
            nonlocal waiting, whole
            waiting = not whole
            message = await receive()
            whole = whole or not message.get("more_body")
            waiting = False
            return message

        try:
            await asyncio.wait_for(self.app(scope, watched, send), self.seconds)
        except asyncio.TimeoutError:
            if waiting:
                raise RequestTimeout("request_timeout", f"the body took over {self.seconds:g} s", CLOSE) from None
            raise DeadlineExceeded("deadline_exceeded", "no answer in time; try again") from None


class BodyLimit:
    """Counts the bytes of bodies: of each request, and of all that are held at this moment."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.most = settings.max_body_bytes
        self.most_parts = settings.max_body_parts
        self.most_held = settings.max_bodies_bytes
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if int(Headers(scope=scope).get("content-length", 0)) > self.most:
            raise self._too_large()
        state = scope["state"]
        parts = 0

        async def counted() -> Message:
            nonlocal parts
            message = await receive()
            parts += 1
            if parts > self.most_parts:
                raise BadRequest(CRUMBS, f"the body came in more than {self.most_parts} parts", CLOSE)
            size = len(message.get("body", b""))
            state["bytes_in"] += size
            self.held += size
            if state["bytes_in"] > self.most:
                raise self._too_large()
            if self.held > self.most_held:
                raise Busy("too_many_bodies", "the server holds too many bodies; try again", CLOSE)
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.held -= state["bytes_in"]

    def _too_large(self) -> TooLarge:
        return TooLarge("body_too_large", f"the body has more than {self.most} bytes", CLOSE)


class WholeBody:
    """Reads the body to its end before anything else is asked of the server; forms only where they are understood."""

    def __init__(self, app: ASGIApp, forms: bool = False) -> None:
        self.app = app
        self.forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMedia("content_encoding", "send the body without Content-Encoding", CLOSE)
        if not self.forms and headers.get("content-type", "").lower().startswith("multipart/"):
            raise UnsupportedMedia("multipart", "send the JSON or the picture itself as the body", CLOSE)
        chunks = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                # The caller left, or sent chunks that cannot be read; HTTP servers tell no difference.
                raise BadRequest("body_incomplete", "the body ended before it was whole", CLOSE)
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        scope["state"]["body"] = b"".join(chunks)
        del chunks, message  # or they would be held beside it for as long as the work lasts
        await self.app(scope, receive, send)


class UntilGone:
    """Cancels the work, and with it the call to Triton, when the caller goes away."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self.app(scope, receive, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientGone("client_gone", "the caller left before the answer")
            work.result()
        finally:
            work.cancel()
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
