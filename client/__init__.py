"""The gateway, the command line and the Python client: `from client import FaceClient`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ServiceError as ServiceError
    from .face_client import AsyncFaceClient as AsyncFaceClient
    from .face_client import FaceClient as FaceClient

_HOMES = {"FaceClient": ".face_client", "AsyncFaceClient": ".face_client", "ServiceError": ".errors"}


def __getattr__(name: str) -> Any:
    """Import gRPC and numpy for those who ask for a client, not for each command."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)
