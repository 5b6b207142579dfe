"""A collector of traces that keeps what it is sent: OTLP over HTTP, as protobuf or JSON.

with Collector() as collector:                  # OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
    ...
    spans = collector.wait_for(lambda spans: len(spans) > 2)
"""

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_SECONDS = 15.0


@dataclass(frozen=True)
class Span:
    """One span; identities as hexadecimal digits, `parent` empty at the root of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, object]
    failed: bool


class Collector:
    """The server, on a free port of loopback; `hangs`: it takes what is sent and never answers."""

    def __init__(self, hangs: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self._ended = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies.append(body)
                if hangs:
                    collector._ended.wait()
                    return
                assert self.path == "/v1/traces"
                collector.spans += _spans(_read(body, self.headers["Content-Type"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def has(self, names: set[str], within: float) -> bool:
        """Whether spans of all these names have come, after so many seconds at most."""
        until = time.monotonic() + within
        while not names <= {span.name for span in self.spans} and time.monotonic() < until:
            time.sleep(0.02)
        return names <= {span.name for span in self.spans}

    def wait_for(self, condition: Callable[[list[Span]], object]) -> list[Span]:
        """The spans so far, as soon as they meet the condition; fails where they do not in time."""
        until = time.monotonic() + WAIT_SECONDS
        while not condition(self.spans):
            assert time.monotonic() < until, f"the collector got only {self.spans}"
            time.sleep(0.02)
        return list(self.spans)


def _read(body: bytes, media_type: str) -> ExportTraceServiceRequest:
    """A request in either form. OTLP's JSON writes identities in hexadecimal, protobuf's own in base64."""
    if media_type == "application/x-protobuf":
        return ExportTraceServiceRequest.FromString(body)
    assert media_type == "application/json"
    content = json.loads(body)
    for resource in content["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in {"traceId", "spanId", "parentSpanId"} & span.keys():
                    span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    return json_format.ParseDict(content, ExportTraceServiceRequest())


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    found = []
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                identities = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                found.append(
                    Span(str(service), span.name, *identities, _values(span.attributes), span.status.code == 2)
                )
    return found


def _values(attributes) -> dict[str, object]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
