"""Everything that can go wrong for a caller, and the one place that writes it down.

    ServiceError
    ├── BadRequest          400   the body cannot be understood
    ├── Unauthorised        401
    ├── NotFound            404
    ├── MethodNotAllowed    405
    ├── RequestTimeout      408   the body did not arrive in time
    ├── TooLarge            413
    ├── AddressTooLong      414
    ├── UnsupportedMedia    415
    ├── BadPicture          422   Triton could not use the picture
    ├── HeadTooLarge        431
    ├── ClientGone          499   nobody is left to answer; only logged
    ├── Internal            500   ours
    ├── BadUpstream         502   Triton answered wrongly
    ├── Busy                503   full, or Triton is not there; try again
    └── DeadlineExceeded    504

A code is stable and lower_snake; a message says what is wrong and how to put it right, and holds nothing a caller sent.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

# Sent where a body stays unread: nothing more can be read from such a connection.
CLOSE: Final[Mapping[str, str]] = {"Connection": "close"}


class ServiceError(Exception):
    """An error with its own HTTP status, code and message."""

    status: ClassVar[int]

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class BadRequest(ServiceError):
    status = 400


class Unauthorised(ServiceError):
    status = 401


class NotFound(ServiceError):
    status = 404


class MethodNotAllowed(ServiceError):
    status = 405


class RequestTimeout(ServiceError):
    status = 408


class TooLarge(ServiceError):
    status = 413


class AddressTooLong(ServiceError):
    status = 414


class UnsupportedMedia(ServiceError):
    status = 415


class BadPicture(ServiceError):
    status = 422


class HeadTooLarge(ServiceError):
    status = 431


class ClientGone(ServiceError):
    status = 499


class Internal(ServiceError):
    status = 500


class BadUpstream(ServiceError):
    status = 502


class Busy(ServiceError):
    status = 503

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code, message, {"Retry-After": "1"} | dict(headers or {}))


class DeadlineExceeded(ServiceError):
    status = 504


def is_service_path(path: str) -> bool:
    """Whether errors on this path are plain text, as the original's were."""
    return path in ("/service", "/udl") or path.startswith("/service/")


def response(error: ServiceError, path: str, request_id: str) -> Response:
    """The answer that an error becomes: plain text on /service, JSON everywhere else."""
    if is_service_path(path):
        return PlainTextResponse(f"{error.code}: {error.message}", error.status, error.headers)
    content = {"error": {"code": error.code, "message": error.message}, "request_id": request_id}
    return JSONResponse(content, error.status, error.headers)
