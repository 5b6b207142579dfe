"""The pages for people: the files of the folder `page`, under the strictest policy that they work with."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "page"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    # Everything comes from this server; a photo is shown from memory and sent to /v1 and nowhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def page(html: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that answers this page."""

    async def endpoint(request: Request) -> Response:
        return HTMLResponse(html, headers=HEADERS)

    return endpoint


def root() -> Callable[[Request], Awaitable[Response]]:
    """The page for browsers; for all others what the original answered."""
    index = (FOLDER / "index.html").read_text("utf-8")
    vary = {"Vary": "Accept"}

    async def endpoint(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(index, headers=HEADERS | vary)
        return HTMLResponse("hello_world!", headers=vary)

    return endpoint


def files() -> list[Route]:
    """A route for each file that the pages load."""
    found = [file for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES]
    return [Route(f"/page/{file.name}", _file(file.read_bytes(), TYPES[file.suffix])) for file in found]


def _file(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)

    return endpoint
