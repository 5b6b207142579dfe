"""What the gateway tells Prometheus: numbers by route and status, never content."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .log import log_request, lost_lines

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The gateway's meters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("face_requests", "Requests answered", ("route", "status"), registry=self.registry)
        self.errors = Counter("face_errors", "Errors by code", ("code",), registry=self.registry)
        self.seconds = Histogram(
            "face_request_seconds",
            "Seconds from the end of the headers",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("face_requests_in_flight", "Requests not answered yet", registry=self.registry)
        self.bytes_in = Counter("face_request_bytes", "Bytes of bodies received", registry=self.registry)
        self.bytes_out = Counter("face_response_bytes", "Bytes of answers", registry=self.registry)
        lost = Gauge("face_log_lines_lost", "Log lines dropped since the start", registry=self.registry)
        lost.set_function(lost_lines)


class Observe:
    """Counts and logs every request once, when it is over."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, end = time.monotonic(), 0.0

        def over() -> None:
            nonlocal end
            if not end:
                end = time.monotonic()
                self.metrics.in_flight.dec()

        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                over()  # the caller has the answer; what still comes of a refused body is dropped for a while

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, watched)
        finally:
            over()
        seconds = end - start
        state = scope["state"]
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.requests.labels(route, state["status"]).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        self.metrics.bytes_in.inc(state["bytes_in"])
        self.metrics.bytes_out.inc(state["bytes_out"])
        if state["code"]:
            self.metrics.errors.labels(state["code"]).inc()
        log_request(scope["method"], route, state, seconds)
