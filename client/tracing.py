"""Traces: a span for each request and for each of its calls to Triton, where OTEL_EXPORTER_OTLP_ENDPOINT is set.

A span says what the log says, route, status, sizes and times, and never what a caller sent: of a caller's headers only
`traceparent` is taken in, of errors only the code. Spans wait in a queue of bounded length, from which a thread sends
them to the collector: one that is slow or away costs spans, never a request.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from tritonclient.utils import InferenceServerException

from .log import known_method
from .settings import SettingsError

CallSpan = Callable[[str, str], AbstractContextManager[Mapping[str, str] | None]]

FLUSH_SECONDS = 2.0  # for the last spans, at the end
PROBES = frozenset({"/health/live", "/health/ready", "/initialized", "/metrics"})  # they come every second


def untraced(model: str, address: str) -> AbstractContextManager[None]:
    """The CallSpan of a gateway without traces: nothing is sent along."""
    return contextlib.nullcontext()


class Tracing:
    """Makes the spans and has them sent; the OTEL_* variables of OpenTelemetry's own tune how."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is a collector's address for OTLP over HTTP; raises SettingsError where packages are missing."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {error.name} is not installed; run scripts/setup with it set"
            ) from None
        named = Resource.create({"service.name": "face-gateway"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
        self._tracer = self._provider.get_tracer("client")
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, scope: Scope) -> Iterator[None]:
        """The span of a request, whose state says at the end what became of it."""
        from opentelemetry.trace import SpanKind, StatusCode

        parent = self._propagator.extract({"traceparent": Headers(scope=scope).get("traceparent", "")})
        with self._tracer.start_as_current_span(
            "request", parent, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            finally:
                state = scope["state"]
                route = getattr(scope.get("route"), "path", "none")
                method = known_method(scope["method"])
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": state["status"],
                        "http.request.body.size": state["bytes_in"],
                        "http.response.body.size": state["bytes_out"],
                        "face.request_id": state["request_id"],
                    }
                )
                if state["code"]:
                    span.set_attribute("error.type", state["code"])
                if state["status"] >= 500:
                    span.set_status(StatusCode.ERROR)

    @contextlib.contextmanager
    def call(self, model: str, address: str) -> Iterator[Mapping[str, str] | None]:
        """The span of a call to Triton, with the gRPC metadata that makes Triton's spans its children."""
        from opentelemetry.trace import SpanKind, StatusCode

        attributes = {
            "rpc.system": "grpc",
            "rpc.service": "inference.GRPCInferenceService",
            "rpc.method": "ModelInfer",
            "server.address": address,
            "triton.model_name": model,
        }
        # An error's text is Triton's, and not for the collector.
        with self._tracer.start_as_current_span(
            f"call {model}", None, SpanKind.CLIENT, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            metadata: dict[str, str] = {}
            if span.is_recording():  # Triton makes spans for whatever comes with a traceparent
                self._propagator.inject(metadata)
            try:
                yield metadata or None
            except BaseException as error:
                status = error.status() if isinstance(error, InferenceServerException) else None
                span.set_attribute("error.type", status or type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """Send what is left, and let go of it where the collector does not take it soon."""
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


class Traced:
    """Makes a span of every request but probes."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app = app
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        with self.tracing.request(scope):
            await self.app(scope, receive, send)
