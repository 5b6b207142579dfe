"""Log lines as JSON on standard error: what happened and how long it took, never what a caller sent.

Lines are written by a thread of their own from a queue that holds so many and no more: a full disk or a pipe that
nobody reads costs lines, which are counted, and never a request.
"""

import atexit
import contextlib
import json
import logging
import logging.handlers
import os
import queue
import threading
import time
from typing import Any

QUEUED_LINES = 1000
STANDARD_ERROR = 2

access = logging.getLogger("client.access")

PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})  # asked by machines, day and night
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record; `extra={"fields": {...}}` adds its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(line | getattr(record, "fields", {}))


class Lost:
    """Lines that nobody will read. Threads that log count here, and the one that writes: hence the lock."""

    lines = 0
    _lock = threading.Lock()

    @classmethod
    def count(cls) -> None:
        with cls._lock:
            cls.lines += 1


class DroppingQueueHandler(logging.handlers.QueueHandler):
    """Puts lines in a queue for the writing thread, and counts those that find it full."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            Lost.count()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # the thread is of this process: nothing needs to be made picklable


def lost_lines() -> int:
    """How many lines found the queue full, or could not be written."""
    return Lost.lines


def configure() -> None:
    """Send every logger's lines to standard error as JSON."""
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUED_LINES)
    thread = threading.Thread(target=_write, args=(lines,), name="log", daemon=True)
    thread.start()
    atexit.register(_finish, lines, thread)
    logging.raiseExceptions = False  # a line that cannot be written must not write a traceback
    root = logging.getLogger()
    root.handlers[:] = [DroppingQueueHandler(lines)]
    root.setLevel(logging.INFO)


def _write(lines: queue.Queue[logging.LogRecord | None]) -> None:
    """Past logging's handlers, whose locks would make the end of the process wait for a reader too."""
    formatter = JsonFormatter()
    while (record := lines.get()) is not None:
        try:
            line = formatter.format(record).encode() + b"\n"
            while line:  # a disk that is nearly full takes a part
                line = line[os.write(STANDARD_ERROR, line) :]
        except Exception:  # a full disk, a closed pipe, a value that JSON cannot hold: the next line may do
            Lost.count()


def _finish(lines: queue.Queue[logging.LogRecord | None], thread: threading.Thread) -> None:
    """Write what is left, but do not wait for a reader who is not there."""
    with contextlib.suppress(queue.Full):
        lines.put_nowait(None)
    thread.join(1.0)


def known_method(method: str) -> str:
    """A request's method; of one that HTTP does not know, nothing: a caller may have written anything there."""
    return method if method in METHODS else "_OTHER"


def log_request(method: str, route: str, state: dict[str, Any], seconds: float) -> None:
    """One line for an answered request, a caller's mistake too; at warning if the fault is ours. None for a probe that
    found all well."""
    if route in PROBES and state["status"] == 200:
        return
    fields = {
        "id": state["request_id"],
        "method": known_method(method),
        "route": route,
        "status": state["status"],
        "code": state["code"],
        "bytes_in": state["bytes_in"],
        "bytes_out": state["bytes_out"],
        "seconds": round(seconds, 4),
    }
    access.log(logging.WARNING if state["status"] >= 500 else logging.INFO, "request", extra={"fields": fields})
