"""How many requests may be in flight, and how the rest are refused."""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import CLOSE, Busy
from .settings import Settings

FULL = ("busy", "the server is full; try again")


class Concurrency:
    """Admits as many requests as may be in flight, and refuses the rest at once.

    left: how many of those whose callers have gone still keep the models busy; they keep their slots.

    Those that come in the same instant begin one after the other: the event loop sends refusals in between, which
    would else come after the parsing of all that were admitted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, left: Callable[[], int]) -> None:
        self.app = app
        self.most = settings.max_in_flight
        self.in_flight = 0
        self.left = left
        self._turn = asyncio.Lock()

    def full(self) -> bool:
        return self.in_flight + self.left() >= self.most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
    """Refuses a request whose body is still to come where there would be no slot for it: it costs next to nothing."""

    def __init__(self, app: ASGIApp, slots: Concurrency) -> None:
        self.app = app
        self.slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.slots.full():
            raise Busy(*FULL, CLOSE)
        await self.app(scope, receive, send)
