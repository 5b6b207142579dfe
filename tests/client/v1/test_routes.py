"""/v1 over HTTP: a live gateway before the fake Triton."""

import json
import time

import grpc
import numpy as np
import pytest

from client.v1.operations import OPERATIONS
from tests.client.live import LiveGateway, body_of
from tests.client.v1.made import FORM, JSON, answer_of, error_of, form_of, json_of, post_form, post_json
from tests.fakes.triton import embedding_of, fails, sleeps

A, B = b"picture a", b"picture b"


def test_a_photo_is_searched_for_faces(gateway):
    answer = answer_of(post_form(gateway, "/v1/detect", A))
    face = answer["images"][0]["faces"][0]
    assert face["box"] == {"x1": 10.5, "y1": 20.25, "x2": 110.5, "y2": 140.75}
    assert set(face["landmarks"]) == {"left_eye", "right_eye", "nose", "mouth_left", "mouth_right"}
    assert "crop" not in face


def test_a_form_and_json_are_answered_alike(gateway):
    for path in ("/v1/embed", "/v1/detect"):
        assert post_form(gateway, path, A, B).body == post_json(gateway, path, A, B).body


def test_photos_are_embedded_in_their_order(gateway):
    answer = answer_of(post_json(gateway, "/v1/embed", A, B, model="arcface"))
    assert (answer["model"], answer["embedding_id"]) == ("arcface", "arcface-fake")
    for picture, image in zip((A, B), answer["images"], strict=True):
        assert np.array_equal(np.array(image["faces"][0]["embedding"], np.float32), embedding_of(picture, 192))


def test_photos_are_compared(gateway):
    answer = answer_of(post_form(gateway, "/v1/compare", A, A, threshold="1.1"))
    assert (answer["match"], answer["distance"], answer["threshold"]) == (True, 0.0, 1.1)


def test_a_bad_picture_leaves_the_others_answered(gateway, fake):
    def script(call):
        if call.inputs["IMAGE"][0] == A:
            return fails(grpc.StatusCode.INVALID_ARGUMENT, "image_unreadable: the picture is damaged")(call)
        return sleeps(0)(call)

    fake.script("face_detect", script)
    images = answer_of(post_form(gateway, "/v1/detect", A, B))["images"]
    assert images[0] == {"error": {"code": "image_unreadable", "message": "the picture is damaged"}}
    assert images[1]["face_count"] == 1
    assert error_of(post_form(gateway, "/v1/detect", A)) == (422, "image_unreadable")
    assert error_of(post_form(gateway, "/v1/detect", A, A)) == (422, "image_unreadable")


@pytest.mark.parametrize("pictures", [(A,), (A, B, A)], ids=["one", "three"])
def test_a_comparison_takes_two_pictures(gateway, fake, pictures):
    assert error_of(post_form(gateway, "/v1/compare", *pictures)) == (400, "images_wrong_number")
    assert not fake.calls


@pytest.mark.parametrize("path", OPERATIONS)
def test_refusals_come_before_triton_is_asked(gateway, fake, path):
    assert error_of(gateway.post(path, b"{}", JSON)) == (400, "images_missing")
    assert error_of(gateway.post(path, form_of(), FORM)) == (400, "images_missing")
    assert error_of(gateway.post(path, json_of(A), {"Content-Type": "text/plain"})) == (415, "content_type")
    assert error_of(gateway.post(path, json_of(A), {**JSON, "Content-Encoding": "gzip"})) == (415, "content_encoding")
    large = {**JSON, "Content-Length": str(17 * 1024 * 1024)}  # of which nothing is sent
    assert error_of(gateway.post(path, b"", large)) == (413, "body_too_large")
    assert error_of(gateway.request("GET", path)) == (405, "method_not_allowed")
    assert error_of(gateway.post(path + "/", b"{}", JSON)) == (404, "not_found")
    assert error_of(post_json(gateway, path, A, A, cnt=3)) == (400, "cnt_wrong")
    assert not fake.calls


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "image_too_large: too many pixels", (413, "image_too_large")),
        (grpc.StatusCode.INVALID_ARGUMENT, "parameter_invalid: factor", (400, "parameter_invalid")),
        (grpc.StatusCode.INVALID_ARGUMENT, "unexpected inference input", (500, "request_refused")),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", (503, "triton_unavailable")),
        (grpc.StatusCode.INTERNAL, "Stub process is not healthy", (502, "triton_failed")),
    ],
)
def test_a_failure_of_triton_has_its_status(gateway, fake, status, text, expected):
    fake.script("facenet_photo", fails(status, text))
    reply = post_form(gateway, "/v1/embed", A)
    assert error_of(reply) == expected
    assert ("retry-after" in reply.headers) == (expected[0] == 503)


def test_all_of_a_request_has_one_deadline(fake):
    """Each call would be in time, all one after the other are not."""
    fake.script("face_detect", sleeps(0.8))
    with LiveGateway(fake.url, FACE_DEADLINE_SECONDS=2) as gateway:
        assert error_of(post_form(gateway, "/v1/detect", *[A] * 20)) == (504, "deadline_exceeded")
    assert len(fake.calls) < 20


def test_v1_and_service_share_the_slots(fake):
    fake.script("facenet_compare", sleeps(30))
    with LiveGateway(fake.url, FACE_MAX_IN_FLIGHT=1, FACE_DEADLINE_SECONDS=60) as gateway:
        body = body_of(A, B)
        with gateway.connect() as connection:
            connection.sendall(b"POST /service HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            until = time.monotonic() + 10
            while not fake.calls:
                assert time.monotonic() < until, "no call came to Triton"
                time.sleep(0.01)
            assert error_of(post_form(gateway, "/v1/detect", A)) == (503, "busy")


@pytest.mark.parametrize("model", ["facenet", "arcface"])
@pytest.mark.parametrize("path", ["/v1/embed", "/v1/compare"])
def test_answers_with_embeddings_name_the_weights_in_a_header(gateway, path, model):
    reply = post_form(gateway, path, A, A, model=model)
    assert reply.headers["x-embedding-id"] == f"{model}-fake" == json.loads(reply.body)["embedding_id"]


def test_answers_of_service_name_the_weights_too(gateway):
    assert gateway.post("/service", body_of(A, B)).headers["x-embedding-id"] == "facenet-fake"
    assert gateway.post("/service/InsightFaceModel", A).headers["x-embedding-id"] == "arcface-fake"
    assert "x-embedding-id" not in gateway.post("/service/FaceDetectionModel", A).headers
    assert "x-embedding-id" not in gateway.post("/service", b"{").headers
    assert "x-embedding-id" not in post_form(gateway, "/v1/detect", A).headers


def test_the_models_and_the_limits_are_told(gateway):
    answer = answer_of(gateway.request("GET", "/v1/models"))
    assert [model["name"] for model in answer["models"]] == ["facenet", "arcface"]
    assert [model["embedding_id"] for model in answer["models"]] == ["facenet-fake", "arcface-fake"]
    assert answer["limits"] == {"max_images": 32, "max_image_bytes": 8 * 2**20, "max_body_bytes": 16 * 2**20}


def test_nothing_of_a_picture_is_in_logs_metrics_and_errors(fake):
    canary = b"\xff\xd8\xffcanary-picture-that-nobody-may-see"
    replies = []
    with LiveGateway(fake.url) as gateway:
        for path in OPERATIONS:
            post_form(gateway, path, canary, canary)
            replies.append(post_form(gateway, path, canary, canary_option="canary").text)
            replies.append(post_json(gateway, path, canary, faces="canary").text)
            replies.append(gateway.post(path, form_of(canary, field="canary"), FORM).text)
            for status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT):
                for model in ("face_detect", "facenet_photo"):
                    fake.script(model, fails(status, f"canary {canary!r}"))
                replies.append(post_form(gateway, path, canary, canary).text)
            fake.reset()
        metrics = gateway.request("GET", "/metrics").text
    assert "canary" not in "".join([gateway.log, metrics, *replies])
