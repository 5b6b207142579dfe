"""The HTTP side: which address does what. One request runs forward only, through middleware, service and Triton."""

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from . import pages
from .admission import Concurrency, NotWhileFull
from .errors import NotFound, ServiceError
from .keys import ApiKey, read_keys
from .metrics import Metrics, Observe
from .middleware import BodyLimit, Deadline, Errors, Head, RequestId, UntilGone, WholeBody
from .services import SERVICES, Service, service_for
from .settings import Settings
from .triton import Triton
from .uai_config import main_class
from .v1.docs import docs_page
from .v1.operations import OPERATIONS
from .v1.routes import Api


class Gateway:
    """The endpoints, with what they share."""

    def __init__(self, settings: Settings, triton: Triton) -> None:
        self.settings = settings
        self.triton = triton
        self.api = Api(settings, triton)
        self.metrics = Metrics()
        config = settings.uai_service_config
        self.default_class = main_class(config, tuple(SERVICES)) if config else None
        self.keys = read_keys(settings.api_keys_file) if settings.api_keys_file else ()

    async def work(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever takes a slot: the routes of /v1, and the UAI routes."""
        answer = self.api.answer if scope["path"] in OPERATIONS else self.service
        await answer(scope, receive, send)

    async def service(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The UAI routes: the answer is bare text, as the original's was."""
        state = scope["state"]
        name = scope["path_params"].get("name", self.default_class)
        service = SERVICES[name] if name else service_for(state["body"])
        pictures = service.parse(state.pop("body"), self.settings)  # the body itself is needed no longer
        text = await service.answer(self.triton, pictures, state["deadline"])
        await HTMLResponse(text, headers=await self._identity(service, state["deadline"]))(scope, receive, send)

    async def _identity(self, service: Service, deadline: float) -> dict[str, str]:
        """The header that names the weights behind an answer; an answer is right without it."""
        if service.network is None:
            return {}
        try:
            identity = await self.triton.identity(service.network, deadline)
        except ServiceError:
            return {}
        return {"X-Embedding-Id": identity.embedding_id} if identity.embedding_id else {}

    async def initialized(self, request: Request) -> Response:
        return HTMLResponse("YES" if self.triton.ready() else "NO")

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        if self.triton.ready():
            return JSONResponse({"ready": True})
        waits_for = {question: sorted(models) for question, models in sorted(self.triton.waits_for().items())}
        return JSONResponse({"ready": False, "waits_for": waits_for}, 503)

    async def show_metrics(self, request: Request) -> Response:
        return PlainTextResponse(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


class KnownClass:
    """Refuses /service/<class> for a class that there is not, before the body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path_params"].get("name", next(iter(SERVICES))) not in SERVICES:
            raise NotFound("class_unknown", f"there is no such class; known are {', '.join(SERVICES)}")
        await self.app(scope, receive, send)


def create_app(settings: Settings, triton: Triton) -> ASGIApp:
    """The gateway as an ASGI application; raises SettingsError on a UAI configuration or keys it cannot use."""
    gateway = Gateway(settings, triton)
    work = Concurrency(UntilGone(gateway.work), settings, triton.left)
    service = KnownClass(NotWhileFull(WholeBody(work), work))
    v1 = NotWhileFull(WholeBody(work, forms=True), work)
    router = Router(
        [
            Route("/service", service, methods=["POST"]),
            Route("/service/{name}", service, methods=["POST"]),
            Route("/udl", service, methods=["POST"]),
            *(Route(path, v1, methods=["POST"]) for path in OPERATIONS),
            Route("/v1/models", gateway.api.models),
            Route("/openapi.json", gateway.api.openapi),
            Route("/docs", pages.page(docs_page(gateway.api.document))),
            Route("/", pages.root()),
            *pages.files(),
            Route("/initialized", gateway.initialized),
            Route("/health/live", gateway.live),
            Route("/health/ready", gateway.ready),
            Route("/metrics", gateway.show_metrics),
        ],
        redirect_slashes=False,
    )
    limited = ApiKey(Head(Deadline(BodyLimit(router, settings), settings), settings), gateway.keys)
    return RequestId(Observe(Errors(limited), gateway.metrics))
