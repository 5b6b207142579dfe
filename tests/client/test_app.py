"""The whole gateway, in its process, before the fake Triton."""

import time

import grpc
import numpy as np
import pytest

from client.services import SERVICES
from tests.client.live import LiveGateway, body_of
from tests.fakes.triton import embedding_of, fails, sleeps

A, B = b"picture a", b"picture b"


@pytest.mark.parametrize("path", ["/service", "/udl", "/service/FaceCompareModel"])
def test_an_answer_is_bare_text(gateway, path):
    reply = gateway.post(path, body_of(A, B))
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert float(reply.text) > 0
    assert reply.text.strip() == reply.text


@pytest.mark.parametrize("name", SERVICES)
def test_every_class_has_an_address(gateway, name):
    raw = name in ("FaceEmbedModelAutoBatch", "FaceDetectionModel", "InsightFaceModel")
    assert gateway.post(f"/service/{name}", A if raw else body_of(A, B)).status == 200


def test_an_unknown_class_is_refused_with_the_known(gateway, fake):
    reply = gateway.post("/service/Nobody", body_of(A))
    assert reply.status == 404
    assert "FaceCompareModel" in reply.text
    assert not fake.calls


def test_the_addresses_of_the_original(gateway):
    assert gateway.request("GET", "/").text == "hello_world!"
    assert gateway.request("GET", "/initialized").text == "YES"
    assert gateway.request("GET", "/").headers["content-type"] == "text/html; charset=utf-8"


def test_health(gateway):
    assert gateway.request("GET", "/health/live").status == 200
    assert gateway.request("GET", "/health/ready").status == 200


def test_ready_follows_triton(gateway, fake):
    fake.not_ready.add("arcface_embed")
    until = time.monotonic() + 3
    while gateway.request("GET", "/health/ready").status == 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert gateway.request("GET", "/initialized").text == "NO"
    assert gateway.request("GET", "/health/live").status == 200
    assert gateway.post("/service", body_of(A, B)).status == 503
    fake.reset()
    until = time.monotonic() + 3
    while gateway.request("GET", "/health/ready").status != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "in ensemble 'facenet_compare', image_unreadable: no picture", 422),
        (grpc.StatusCode.INVALID_ARGUMENT, "image_too_large: too many pixels", 413),
        (grpc.StatusCode.INVALID_ARGUMENT, "unexpected inference input", 500),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", 503),
        (grpc.StatusCode.UNAVAILABLE, "in ensemble 'facenet_compare', busy: too many requests wait; try again", 503),
        (grpc.StatusCode.UNAVAILABLE, "in ensemble 'facenet_compare', Request timeout expired", 504),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", 504),
        (grpc.StatusCode.INTERNAL, "Stub process is not healthy", 502),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model", 500),
    ],
)
def test_a_failure_of_triton_has_its_status(gateway, fake, status, text, expected):
    fake.script("facenet_compare", fails(status, text))
    reply = gateway.post("/service", body_of(A, B))
    assert reply.status == expected
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert ("retry-after" in reply.headers) == (expected == 503)
    codes = {500: ("request_refused", "model_missing"), 502: ("triton_failed",), 503: ("triton_unavailable",)}
    codes |= {504: ("deadline_exceeded",), 413: ("image_too_large",), 422: ("image_unreadable",)}
    assert reply.text.partition(": ")[0] in codes[expected]
    if status is not grpc.StatusCode.INVALID_ARGUMENT:
        assert text not in reply.text


def spoilt(how):
    """A Triton whose answer about two pictures is not theirs."""

    def script(call):
        rows = np.stack([embedding_of(row[0]) for row in call.inputs["IMAGE"]])
        if how == "of another request":
            call.id = "1234567"
        spoilt = {"not a number": np.where(rows == rows[1, 7], np.nan, rows), "a row short": rows[:1]}
        return {"EMBEDDING": spoilt.get(how, rows).astype(np.float32)}

    return script


@pytest.mark.parametrize("how", ["not a number", "a row short", "of another request"])
def test_numbers_that_cannot_be_the_callers_never_reach_them(gateway, fake, how):
    fake.script("facenet_embed", spoilt(how))
    reply = gateway.post("/service/FaceEmbedModel", body_of(A, B))
    assert reply.status == 502
    assert reply.text.startswith("triton_garbled: ")
    assert not any(letter.isdigit() for letter in reply.text)


def test_a_caller_who_leaves_ends_the_call_to_triton(gateway, fake):
    fake.script("facenet_compare", sleeps(5))
    body = body_of(A, B)
    with gateway.connect() as connection:
        connection.sendall(b"POST /service HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        until = time.monotonic() + 3
        while not fake.calls:
            assert time.monotonic() < until
            time.sleep(0.01)
    until = time.monotonic() + 1
    while not fake.calls[0].cancelled:
        assert time.monotonic() < until
        time.sleep(0.01)
    until = time.monotonic() + 1
    while not any(line.get("status") == 499 for line in gateway.lines()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_metrics_count_by_route_and_status(gateway):
    def count(name):
        text = gateway.request("GET", "/metrics").text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    answered = 'face_requests_total{route="/service",status="200"}'
    before = count(answered), count('face_errors_total{code="json_invalid"}'), count("face_request_bytes_total")
    body = body_of(A, B)
    gateway.post("/service", body)
    gateway.post("/service", b"{")
    assert count(answered) == before[0] + 1
    assert count('face_errors_total{code="json_invalid"}') == before[1] + 1
    assert count("face_request_bytes_total") == before[2] + len(body) + 1
    assert count("face_requests_in_flight") == 1
    assert count('face_request_seconds_count{route="/service"}') >= 2


def test_a_request_is_one_line_of_the_log(gateway):
    gateway.post("/service", b"{", {"X-Request-Id": "find-me"})
    until = time.monotonic() + 2
    while not (found := [line for line in gateway.lines() if line.get("id") == "find-me"]):
        assert time.monotonic() < until
        time.sleep(0.01)
    (line,) = found
    assert (line["route"], line["status"], line["code"], line["bytes_in"]) == ("/service", 400, "json_invalid", 1)


def test_nothing_of_a_picture_is_in_logs_metrics_and_errors(fake):
    """A canary picture and its numbers, over every class and through every kind of failure."""
    canary = b"\xff\xd8\xffcanary-picture-that-nobody-may-see"
    body = body_of(canary, canary, **{"canary-key": "canary-value"})
    replies = []
    with LiveGateway(fake.url) as gateway:
        for name in SERVICES:
            for sent in (canary, body):
                gateway.post(f"/service/{name}?canary-query", sent, {"X-Request-Id": "canary id"})
        gateway.post("/canary-path", body)
        gateway.request("GET", "/service", headers={"X-Forwarded-For": "canary-address", "X-Api-Key": "canary-key"})
        for status in grpc.StatusCode:
            if status is not grpc.StatusCode.OK:
                fake.script("facenet_compare", fails(status, f"canary-text {canary!r}"))
                replies.append(gateway.post("/service", body).text)
        metrics = gateway.request("GET", "/metrics").text
    seen = "".join([gateway.log, metrics, *replies])
    assert "canary" not in seen
    assert body_of(canary).decode()[13:40] not in seen
    for number in embedding_of(canary)[:20].tolist() + embedding_of(canary, 192)[:20].tolist():
        assert f"{abs(number):.6f}"[1:] not in seen
