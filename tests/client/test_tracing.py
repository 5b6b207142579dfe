"""Traces, from the process of a real gateway, and from a real Triton, to a collector."""

import json
import subprocess
import sys

import grpc
import pytest
from PIL import Image
from skimage.data import astronaut

from tests.client.live import PROJECT, LiveGateway, body_of, free_port
from tests.client.test_gateway import refused_start, wait_until
from tests.conftest import serving
from tests.fakes.collector import Collector
from tests.fakes.triton import fails

A = b"picture a"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED, NOT_TRACED = (f"00-{TRACE}-{CALLER}-{flag}" for flag in ("01", "00"))
JSON = {"Content-Type": "application/json"}
SENT_WITHIN_SECONDS = 7.0  # by Triton, every 5 s
MOST_TRIES = 4  # Triton 2.51 loses the spans of one call in ten
SOON = {"OTEL_BSP_SCHEDULE_DELAY": 50}  # milliseconds until spans are sent


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def tracing(fake, collector):
    return LiveGateway(fake.url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **SOON)


@pytest.fixture
def traced(fake, collector):
    with tracing(fake, collector) as gateway:
        yield gateway


def test_a_request_and_its_call_to_triton_are_one_trace(traced, fake, collector):
    traced.post("/service/FaceEmbedModel", body_of(A))
    request, call = sorted(collector.wait_for(lambda spans: len(spans) == 2), key=lambda span: span.name)
    assert (request.service, request.name, request.parent) == ("face-gateway", "POST /service/{name}", "")
    assert (call.service, call.name, call.parent, call.trace) == (
        "face-gateway",
        "call facenet_embed",
        request.id,
        request.trace,
    )
    assert fake.calls[-1].metadata["traceparent"] == f"00-{call.trace}-{call.id}-01"


def test_a_span_says_what_became_of_the_request(traced, collector):
    body = body_of(A)
    reply = traced.post("/service/FaceEmbedModel", body, {"X-Request-Id": "one"})
    spans = collector.wait_for(lambda spans: len(spans) == 2)
    (request,) = [span for span in spans if span.name.startswith("POST")]
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/service/{name}",
        "http.response.status_code": 200,
        "http.request.body.size": len(body),
        "http.response.body.size": len(reply.body),
        "face.request_id": "one",
    }


def test_the_trace_of_the_caller_goes_on(traced, fake, collector):
    traced.post("/v1/detect", json.dumps({"images": ["AAAA"]}).encode(), {"traceparent": TRACED} | JSON)
    request, call = sorted(collector.wait_for(lambda spans: len(spans) == 2), key=lambda span: span.name)
    assert (request.trace, request.parent) == (TRACE, CALLER)
    assert (call.trace, call.parent) == (TRACE, request.id)
    assert fake.calls[-1].metadata["traceparent"].split("-")[1] == TRACE


@pytest.mark.parametrize("header", ["", "x", f"00-{'0' * 32}-{CALLER}-01", f"{TRACED}\xe9", "00-" * 2000])
def test_a_broken_traceparent_begins_a_trace_of_its_own(traced, collector, header):
    reply = traced.post("/service/FaceEmbedModel", body_of(A), {"traceparent": header.encode("latin-1")})
    assert reply.status == 200
    spans = collector.wait_for(lambda spans: len(spans) == 2)
    assert sum(span.parent == "" for span in spans) == 1


def test_what_the_caller_does_not_trace_is_not_traced(fake, collector):
    with tracing(fake, collector) as gateway:
        gateway.post("/service/FaceEmbedModel", body_of(A), {"traceparent": NOT_TRACED})
        assert "traceparent" not in fake.calls[-1].metadata
        gateway.post("/service/FaceEmbedModel", body_of(A), {"traceparent": TRACED})
        collector.wait_for(lambda spans: len(spans) >= 2)
    assert len(collector.spans) == 2  # the gateway has sent its last


def test_probes_make_no_spans(fake, collector):
    with tracing(fake, collector) as gateway:
        gateway.request("GET", "/v1/models")
        for path in ("/health/live", "/health/ready", "/initialized", "/metrics"):
            assert gateway.request("GET", path).status == 200
        collector.wait_for(lambda spans: any(span.name == "GET /v1/models" for span in spans))
    assert [span.name for span in collector.spans] == ["GET /v1/models"]  # the gateway has sent its last


def test_an_error_is_its_code_and_nothing_more(traced, fake, collector):
    secret = "text that Triton wrote"
    fake.script("facenet_embed", fails(grpc.StatusCode.INTERNAL, secret))
    traced.post("/service/FaceEmbedModel", body_of(A))
    request, call = sorted(collector.wait_for(lambda spans: len(spans) == 2), key=lambda span: span.name)
    assert (request.failed, request.attributes["error.type"]) == (True, "triton_failed")
    assert (call.failed, call.attributes["error.type"]) == (True, "StatusCode.INTERNAL")
    assert secret.encode() not in b"".join(collector.bodies)


def test_nothing_that_the_caller_sent_reaches_the_collector(traced, collector):
    body = body_of(A, key="mine")
    headers = {"traceparent": TRACED, "tracestate": "k=secret1", "baggage": "k=secret2", "User-Agent": "secret3"}
    traced.post("/service/FaceCompareJsonModel?secret4", body, headers)
    traced.request("SECRET5", "/secret6")
    collector.wait_for(lambda spans: any(span.name == "_OTHER none" for span in spans))
    sent = b"".join(collector.bodies)
    for part in (A, b"mine", b"secret", b"SECRET", json.loads(body)["mine"][0].encode()):
        assert part not in sent


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "away"])
def test_a_collector_that_hangs_or_is_away_slows_no_request_and_no_end(fake, hangs):
    with Collector(hangs) as collector:
        url = collector.url if hangs else f"http://127.0.0.1:{free_port()}"
        forever = {"OTEL_EXPORTER_OTLP_TIMEOUT": 600}  # seconds: whoever waits for the collector is not done in time
        with LiveGateway(fake.url, OTEL_EXPORTER_OTLP_ENDPOINT=url, **SOON, **forever) as gateway:
            assert gateway.post("/service/FaceEmbedModel", body_of(A)).status == 200
            if hangs:
                wait_until(lambda: collector.bodies, "the first spans come")
            for _ in range(200):
                assert gateway.post("/service/FaceEmbedModel", body_of(A)).status == 200
    assert gateway.process.returncode == 0
    assert bool(collector.bodies) == hangs
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("variable", ["OTEL_SERVICE_NAME=mine", "OTEL_RESOURCE_ATTRIBUTES=service.name=mine"])
def test_a_service_name_of_the_environment_is_heeded(fake, collector, variable):
    name, _, value = variable.partition("=")
    with LiveGateway(fake.url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **SOON, **{name: value}) as gateway:
        gateway.post("/service/FaceEmbedModel", body_of(A))
        spans = collector.wait_for(lambda spans: len(spans) == 2)
    assert {span.service for span in spans} == {"mine"}


def test_without_a_collector_nothing_is_imported_and_nothing_sent_along(gateway, fake):
    gateway.post("/service/FaceEmbedModel", body_of(A), {"traceparent": TRACED})
    assert "traceparent" not in fake.calls[-1].metadata
    program = "import sys, client.gateway; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT).returncode == 0


def test_missing_packages_are_named(tmp_path):
    (tmp_path / "opentelemetry").mkdir()  # an empty one, before the real
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    status, text = refused_start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert text.startswith("gateway: OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry.")
    assert text.count("\n") == 1


def test_tritons_spans_are_children_of_the_gateways(repository, tmp_path):
    """From a caller's traceparent down to the models of an ensemble, in a real tritonserver."""
    Image.fromarray(astronaut()).save(tmp_path / "photo.jpg")
    with Collector() as collector:
        with serving(repository, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
            command = ["curl", "-sf", f"{server.url}/v1/embed", "-F", f"image=@{tmp_path / 'photo.jpg'}"]
            for header in (NOT_TRACED, *[TRACED] * MOST_TRIES):
                subprocess.run([*command, "-H", f"traceparent: {header}"], check=True, stdout=subprocess.DEVNULL)
                if header == TRACED and collector.has({"compute", "call facenet_photo"}, within=SENT_WITHIN_SECONDS):
                    break
    spans = {span.id: span for span in collector.spans}
    assert {span.trace for span in spans.values()} == {TRACE}

    def path(span):
        """The names from the root of the trace down to this span."""
        return [*(path(spans[span.parent]) if span.parent in spans else [span.parent]), span.name]

    above = [CALLER, "POST /v1/embed", "call facenet_photo"]
    paths = [path(span) for span in spans.values() if span.service == "face-triton"]
    assert all(names[:3] == above for names in paths)
    assert {"/".join(names[3:]) for names in paths} == {
        "InferRequest",
        "InferRequest/facenet_photo",
        "InferRequest/facenet_photo/face_crops",
        "InferRequest/facenet_photo/face_crops/compute",
        "InferRequest/facenet_photo/facenet",
        "InferRequest/facenet_photo/facenet/compute",
    }
