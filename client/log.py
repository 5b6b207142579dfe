"""Log lines as JSON on standard error: what happened and how long it took, never what a caller sent."""

import json
import logging
import sys
import time
from typing import Any

logger = logging.getLogger("client.access")


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


def configure() -> None:
    """Send every logger's lines to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def log_request(method: str, route: str, state: dict[str, Any], seconds: float) -> None:
    """One line for an answered request: at info, a caller's mistakes too; at warning what is ours."""
    fields = {
        "id": state["request_id"],
        "method": method,
        "route": route,
        "status": state["status"],
        "code": state["code"],
        "bytes_in": state["bytes_in"],
        "bytes_out": state["bytes_out"],
        "seconds": round(seconds, 4),
    }
    logger.log(logging.WARNING if state["status"] >= 500 else logging.INFO, "request", extra={"fields": fields})
