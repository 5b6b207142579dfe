"""How many requests may be in flight, and how the rest are refused."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import CLOSE, Busy
from .settings import Settings

FULL = ("busy", "the server is full; try again")
PROMPT_SECONDS = 0.25


class Concurrency:
    """Admits as many requests as may be in flight, and refuses the rest at once.

    left: how many of those whose callers have gone still keep the models busy; they keep their slots.

    Those that come in the same instant begin one after the other: the event loop sends refusals in between, which
    would else come after the parsing of all that were admitted. While their bodies come they count already, so that
    of those too many no body is read; one that is not whole in PROMPT_SECONDS counts no more until it is.
    """

    def __init__(self, app: ASGIApp, settings: Settings, left: Callable[[], int]) -> None:
        self.app = app
        self.most = settings.max_in_flight
        self.in_flight = 0
        self.left = left
        self._coming: set[int] = set()
        self._turn = asyncio.Lock()

    def full(self) -> bool:
        return self.in_flight + self.left() + len(self._coming) >= self.most

    @contextlib.contextmanager
    def coming(self, request: int) -> Iterator[None]:
        """A block in which a body is read."""
        self._coming.add(request)
        timer = asyncio.get_running_loop().call_later(PROMPT_SECONDS, self._coming.discard, request)
        try:
            yield
        finally:
            timer.cancel()
            self._coming.discard(request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._coming.discard(id(scope["state"]))  # now it is whole
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
        with self.slots.coming(id(scope["state"])):
            await self.app(scope, receive, send)
