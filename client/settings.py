"""Every limit and address of the gateway in one frozen object, read once from the environment.

A field `deadline_seconds` is read from `FACE_DEADLINE_SECONDS`; its unit is in its name. A `FACE_*` key that is no
field and is not read elsewhere in this project stops the start, because a misspelt limit is a missing limit.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "FACE_"
READ_ELSEWHERE: dict[str, tuple[type, dict[str, float]]] = {  # by the networks in Triton, not by the gateway
    "FACE_CORES": (int, {"low": 1, "high": 4096}),
    "FACE_GPU": (bool, {}),
}
NAMED_BY_OTHERS = {
    "FACE_UAI_SERVICE_CONFIG": "UAI_SERVICE_CONFIG",  # the original
    "FACE_OTLP_ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT",  # OpenTelemetry
}
LABEL = r"[A-Za-z0-9_-]{1,63}"  # of a DNS name
TRITON_ADDRESS = re.compile(rf"(?:dns:///)?(?:{LABEL}(?:\.{LABEL})*\.?|\[[0-9a-fA-F:.]+\]):([0-9]{{1,5}})")
HTTP_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
MIB = 1024 * 1024


class SettingsError(ValueError):
    """A key or a value of the environment that the gateway cannot start with; the message names it."""


def setting(default: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """A field with the bounds, both included, that its number must keep."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """What the gateway was told at its start."""

    # where it listens, and where Triton is
    host: str = "127.0.0.1"
    port: int = setting(8080, 1, 65535)
    triton_url: str = "127.0.0.1:8001"  # or several with commas; a name stands for all of its addresses
    uai_service_config: Path | None = None
    api_keys_file: Path | None = None  # a key a line; demanded once others than this machine can connect
    otlp_endpoint: str | None = None  # of a collector of traces; without one there are none
    without_keys: bool = False  # yes: others may ask without one, because something before the gateway guards it

    # what a request may hold
    max_body_bytes: int = setting(16 * MIB, 1024, 16 * MIB)  # what a call to Triton carries (client/connection.py)
    max_body_parts: int = setting(16 * 1024, 1024, 1024 * 1024)  # as they arrive: chunks or packets
    max_image_bytes: int = setting(8 * MIB, 1024, 8 * MIB)  # what the models decode
    max_images: int = setting(32, 1, 32)  # the largest batch of the models
    max_json_values: int = setting(10_000, 100, 1_000_000)
    max_header_bytes: int = setting(32 * 1024, 8 * 1024, MIB)
    max_header_line_bytes: int = setting(8 * 1024, 1024, MIB)

    # how long anything may take
    header_seconds: float = setting(10.0, 0.1, 60.0)
    deadline_seconds: float = setting(9.0, 0.1, 600.0)
    send_seconds: float = setting(10.0, 0.1, 600.0)
    drain_seconds: float = setting(10.0, 0.1, 600.0)

    # how much may go on at once
    max_in_flight: int = setting(64, 1, 4096)
    max_bodies_bytes: int = setting(256 * MIB, MIB, 64 * 1024 * MIB)
    max_connections: int = setting(4096, 16, 65536)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; raises SettingsError naming the key at fault."""
        known = {PREFIX + f.name.upper(): f for f in fields(cls)}
        for ours, theirs in NAMED_BY_OTHERS.items():
            known[theirs] = known.pop(ours)
        for key in sorted(environ):
            if key.startswith(PREFIX) and key not in known and key not in READ_ELSEWHERE:
                raise SettingsError(f"{key} is not a setting; known are {', '.join(sorted({*known, *READ_ELSEWHERE}))}")
        for key, (kind, bounds) in READ_ELSEWHERE.items():
            if environ.get(key):
                _parse(key, environ[key], kind, bounds)
        values = {f.name: _parse(key, environ[key], f.type, f.metadata) for key, f in known.items() if environ.get(key)}
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        """What more than one field decides."""
        if self.max_image_bytes > self.max_body_bytes:
            raise SettingsError("FACE_MAX_IMAGE_BYTES must not exceed FACE_MAX_BODY_BYTES")
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise SettingsError(f"FACE_HOST={self.host!r} is not an IP address, such as 127.0.0.1") from None
        if not all(_is_triton(url.strip()) for url in self.triton_url.split(",")):
            raise SettingsError(f"FACE_TRITON_URL={self.triton_url!r} must be host:port, several with commas between")
        if self.otlp_endpoint and not HTTP_ADDRESS.fullmatch(self.otlp_endpoint):
            raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT must be as http://host:4318 (OTLP over HTTP)")
        if not (loopback or self.api_keys_file or self.without_keys):
            raise SettingsError(
                f"FACE_HOST={self.host} lets other machines in: set FACE_API_KEYS_FILE to a file of keys"
                " (or FACE_WITHOUT_KEYS=yes where something else guards the port)"
            )


def _is_triton(url: str) -> bool:
    found = TRITON_ADDRESS.fullmatch(url)
    return found is not None and 1 <= int(found[1]) <= 65535


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError
    return text == "yes"


CASTS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    str | None: str,
    Path | None: Path,
    bool: _yes_or_no,
}


def _parse(key: str, text: str, kind: Any, bounds: Mapping[str, float]) -> Any:
    """One value from its text, inside its bounds."""
    try:
        value = CASTS[kind](text)
    except ValueError:
        expected = {bool: "yes or no", int: "a whole number"}.get(kind, "a number")
        raise SettingsError(f"{key}={text!r} is not {expected}") from None
    if bounds and not bounds["low"] <= value <= bounds["high"]:
        raise SettingsError(f"{key}={text} must be from {bounds['low']} to {bounds['high']}")
    return value
