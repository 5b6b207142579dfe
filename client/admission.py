"""How many requests may be in flight, and how the rest are refused."""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import CLOSE, Busy
from .settings import Settings

FULL = ("busy", "the server is full; try again")
FLOW_BYTES = 1 << 16
FLOW_SECONDS = 0.25


class Concurrency:
    """Admits as many requests as may be in flight, and refuses the rest at once.

    left: how many of those whose callers have gone still keep the models busy; they keep their slots.
    coming: large bodies that will be whole in a moment; their slots are kept for them.

    Those that come in the same instant begin one after the other: the event loop sends refusals in between, which
    would else come after the parsing of all that were admitted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, left: Callable[[], int]) -> None:
        self.app = app
        self.most = settings.max_in_flight
        self.in_flight = 0
        self.left = left
        self.coming: set[int] = set()
        self._turn = asyncio.Lock()

    def full(self) -> bool:
        return self.in_flight + self.left() + len(self.coming) >= self.most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.coming.discard(id(scope["state"]))  # now it is whole
        if self.full():
            raise Busy(*FULL)
        self.in_flight += 1
        try:
            async with self._turn:
                await asyncio.sleep(0)
            await self.app(scope, receive, send)
        finally:
            self.in_flight -= 1


class NotWhileFull:
    """Refuses a request whose body is still to come where there would be no slot for it: it costs next to nothing.

    A large body asks once more when FLOW_BYTES of it are here, and is kept a slot for FLOW_SECONDS: so of a hundred
    who come in one instant those too many know it before the bodies of the others are read. Bodies that only drip
    never get as far as that and keep nobody out.
    """

    def __init__(self, app: ASGIApp, slots: Concurrency) -> None:
        self.app = app
        self.slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.slots.full():
            raise Busy(*FULL, CLOSE)
        request = id(scope["state"])
        timer = None
        size = 0

        async def flowing() -> Message:
            nonlocal timer, size
            message = await receive()
            size += len(message.get("body", b""))
            if timer is None and size >= FLOW_BYTES and message.get("more_body"):
                if self.slots.full():
                    raise Busy(*FULL, CLOSE)
                self.slots.coming.add(request)
                timer = asyncio.get_running_loop().call_later(FLOW_SECONDS, self.slots.coming.discard, request)
            return message

        try:
            await self.app(scope, flowing, send)
        finally:
            self.slots.coming.discard(request)
            if timer is not None:
                timer.cancel()
