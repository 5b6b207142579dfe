"""What a model's process and the launcher that watches it (client/stubs.py) tell each other: files in FACE_WATCHED."""

import contextlib
import math
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

# Calls begun so far; until when the one under way must be over, of time.monotonic(), or 0; how much processor time its
# main thread may have used up by then or by its next sign, of time.thread_time().
CALLS = struct.Struct("=qdd")


class Watched:
    """A model's process, as its launcher sees it; nobody watches where FACE_WATCHED names no folder.

    The process keeps CALLS in the file of its process id. The launcher leaves a file of the model's name there while
    too many requests wait before it.
    """

    def __init__(self, model: str, seconds: float, silent: float = math.inf) -> None:
        """seconds: more than an honest call of Triton's takes; silent: more than its main thread computes between two
        signs of life, in seconds of processor time."""
        folder = os.environ.get("FACE_WATCHED")
        self._refuse = Path(folder, model) if folder else None
        self._record = os.open(Path(folder, str(os.getpid())), os.O_WRONLY | os.O_CREAT, 0o600) if folder else None
        self._calls, self._seconds, self._silent, self._until = 0, seconds, silent, 0.0

    def overfull(self) -> bool:
        return self._refuse is not None and self._refuse.exists()

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """A block that is one call of Triton's."""
        self._calls += 1
        self._until = time.monotonic() + self._seconds
        self.sign()
        try:
            yield
        finally:
            self._until = 0.0
            self.sign()

    def sign(self) -> None:
        """Tell that the main thread is not in a loop of a library."""
        if self._record is not None:
            os.pwrite(self._record, CALLS.pack(self._calls, self._until, time.thread_time() + self._silent), 0)
