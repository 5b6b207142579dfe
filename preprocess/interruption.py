"""Work that comes to an end: by itself, when its time is up, or once nobody waits for it."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

LOOK_EVERY_SECONDS = 0.5


class Interrupted(BaseException):
    """Raised in the midst of work. It is no Exception: decoders would take it for a damaged picture."""


@contextlib.contextmanager
def interruptible(seconds: float, awaited: Callable[[], bool]) -> Iterator[None]:
    """A block that ends with Interrupted after `seconds`, or soon after `awaited()` is false, wherever its Python code
    then is.

    Where no time is left it does not begin. For the main thread, as Python's signals are. A single call of a library
    that never returns is not ended; `awaited` is not asked any more.
    """
    if seconds <= 0:
        raise Interrupted
    end = time.monotonic() + seconds
    over = False

    def look(number: int, frame: FrameType | None) -> None:
        if over:  # the timer ran out in the moment it was to be stopped
            return
        if time.monotonic() > end or not awaited():
            raise Interrupted
        signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY_SECONDS)  # anew each time: none is left behind by the raise

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, LOOK_EVERY_SECONDS))
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
