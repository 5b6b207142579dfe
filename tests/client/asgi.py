"""Calls an ASGI application without a server."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.client.live import Reply


def scope_of(method: str, path: str, headers: Iterable[tuple[str, str]] = (), **others: Any) -> Scope:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if "host" not in (name.lower() for name, _ in headers):
        raw.append((b"host", b"test"))
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        **others,
    }


async def call(app: ASGIApp, scope: Scope, *chunks: bytes | float, then_gone: bool = False) -> Reply | None:
    """Send the chunks as the body, pausing for each number; the answer, if there was one."""
    messages: list[bytes | float] = list(chunks) or [b""]
    sent: list[Message] = []

    async def receive() -> Message:
        while messages:
            message = messages.pop(0)
            if isinstance(message, bytes):
                return {"type": "http.request", "body": message, "more_body": bool(messages)}
            await asyncio.sleep(message)
        if not then_gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


def answers(body: bytes = b"ok") -> ASGIApp:
    """An application that reads the body and answers 200."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app
