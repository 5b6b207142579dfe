"""API keys: from a file, and demanded of every request but the health checks and the pages."""

import hashlib
import hmac
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import CLOSE, Unauthorised
from .settings import SettingsError

SHORTEST = 16
# For probes, which learn yes or no; and the pages, the same for everyone, where a browser can be given its key.
OPEN_TO_ALL = frozenset({"/health/live", "/health/ready", "/", "/docs", "/openapi.json"})
PAGE_FILES = "/page/"


def listed(text: str) -> list[str]:
    """The keys in a file's text: a key a line, # for comments."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The SHA-256 digests of the keys of a file, a key a line, # for comments; raises SettingsError."""
    try:
        keys = listed(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"FACE_API_KEYS_FILE={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"FACE_API_KEYS_FILE={path} is not text in UTF-8") from None
    if not keys or any(len(key) < SHORTEST or not key.isascii() for key in keys):  # headers carry no others
        raise SettingsError(
            f"FACE_API_KEYS_FILE={path} must hold keys of at least {SHORTEST} ASCII characters, one a line"
        )
    return tuple(_digest(key) for key in keys)


class ApiKey:
    """Asks for `Authorization: Bearer <key>` or `X-API-Key: <key>`.

    Each request is compared with all keys, by digests of one length, so that the time tells nothing about them.
    """

    def __init__(self, app: ASGIApp, keys: tuple[bytes, ...]) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        open_to_all = scope["path"] in OPEN_TO_ALL or scope["path"].startswith(PAGE_FILES)
        if self.keys and not open_to_all:
            headers = Headers(scope=scope)
            scheme, _, bearer = headers.get("authorization", "").partition(" ")
            given = _digest(bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))
            if not any([hmac.compare_digest(given, key) for key in self.keys]):
                message = "send a key as Authorization: Bearer <key> or X-API-Key: <key>"
                raise Unauthorised("api_key", message, {**CLOSE, "WWW-Authenticate": "Bearer"})
        await self.app(scope, receive, send)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
