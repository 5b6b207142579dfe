"""The Python client over HTTP, through a gateway before a Triton with scripted answers."""

import asyncio
import json

import grpc
import numpy as np
import pytest

from client import FaceClient, ServiceError
from client.errors import BadPicture, BadRequest, BadUpstream, Busy, DeadlineExceeded, Unauthorised
from client.over_http import Gateway, _failure
from tests.client.live import LiveGateway
from tests.fakes.triton import BOX, FakeTriton, embedding_of, fails, sleeps

WIDTHS = {"facenet": 512, "arcface": 192}


@pytest.fixture
def client(gateway):
    with FaceClient(f"http://127.0.0.1:{gateway.port}", timeout_seconds=3) as client:
        yield client


class PreparedTriton(FakeTriton):
    """A Triton whose configurations say how many numbers an embedding has."""

    async def ModelConfig(self, request, context):
        response = await super().ModelConfig(request, context)
        response.config.output.add(name="EMBEDDING", dims=[WIDTHS[request.name]])
        return response


@pytest.fixture(scope="module")
def prepared():
    """Of a prepared Triton that sees no face anywhere, a client over HTTP."""
    with PreparedTriton() as triton:
        for network, width in WIDTHS.items():
            triton.script(f"{network}_photo", lambda call, width=width: no_faces(width))
        triton.script(
            "arcface_embed", lambda call: {"EMBEDDING": np.ones((1, 192), "f4"), "FOUND": np.array([[False]])}
        )
        with LiveGateway(triton.url) as gateway, FaceClient(f"http://127.0.0.1:{gateway.port}", 5) as client:
            yield client


def no_faces(width):
    """What a photo model answers for a photo without a face."""
    return {
        "BOXES": BOX[:0],
        "LANDMARKS": np.zeros((0, 5, 2), np.float32),
        "EMBEDDING": np.ones((1, width), np.float32),
        "FACE_COUNT": np.zeros(1, np.int32),
    }


@pytest.mark.parametrize(("model", "width"), WIDTHS.items())
def test_a_photo_without_a_face_has_no_embeddings_of_the_models_width(prepared, model, width):
    assert prepared.embed(b"photo", model).embeddings.shape == (0, width)


def test_crops_without_any_face_are_zeros_of_the_models_width(prepared):
    found = prepared.embed_crops([b"a", b"b"], "arcface")
    assert np.array_equal(found.embeddings, np.zeros((2, 192)))


def test_the_width_of_a_model_is_asked_for_once(monkeypatch):
    asked = []

    async def request(self, method, path, deadline, body=None):
        asked.append(path)
        known = {"embedding_id", "weights_source", "weights_sha256", "preprocessing", "engine", "precision"}
        models = [{"name": name, "dimension": width, **dict.fromkeys(known, "")} for name, width in WIDTHS.items()]
        return json.dumps({"models": models}).encode()

    async def ask():
        gateway = Gateway("http://127.0.0.1:1", None)
        return [await gateway._width(model, 0.0) for model in ("arcface", "facenet", "arcface", "facenet")]

    monkeypatch.setattr(Gateway, "_request", request)
    assert asyncio.run(ask()) == [192, 512, 192, 512]
    assert asked == ["/v1/models"] * 2


def test_a_photo_and_its_parameters_reach_the_model(client, fake):
    found = client.embed(b"photo", "arcface", {"apply_exif": False, "min_face_size": 40, "threshold_onet": 0.9})
    assert np.array_equal(found.embeddings, embedding_of(b"photo", 192)[None])
    call = next(call for call in fake.calls if call.model == "arcface_photo")
    assert (call.parameters["apply_exif"], call.parameters["min_face_size"]) == (False, 40)
    assert call.parameters["threshold_onet"] == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["threshold_pnet", "threshold_rnet", "factor", "deadline_ms"])
def test_a_parameter_that_http_lacks_is_refused(client, name):
    known = "over HTTP there are apply_exif, min_face_size, threshold_onet"
    with pytest.raises(BadRequest, match=f"{name} can be given over gRPC only; {known}"):
        client.detect(b"photo", {name: 0.5})


@pytest.mark.parametrize("name", ["min_score", "faces", "bogus"])
def test_a_parameter_that_no_way_knows_is_not_sent_to_the_other(client, name):
    with pytest.raises(BadRequest, match=f"there is no parameter {name}; over HTTP there are apply_exif"):
        client.detect(b"photo", {name: 0.5})


def test_crops_come_back_in_their_order(client, fake):
    crops = [b"\x89PNG crop %d" % number for number in range(40)]
    assert np.allclose(client.embed_crops(crops).embeddings, [embedding_of(crop) for crop in crops], atol=1e-7)
    assert np.allclose(
        client.embed_crops(crops[:3], "arcface").embeddings, [embedding_of(crop, 192) for crop in crops[:3]]
    )


def test_a_crop_in_which_arcface_sees_no_face_is_marked(client, fake):
    answer = {"EMBEDDING": np.ones((1, 192), np.float32), "FOUND": np.array([[False]])}
    fake.script("arcface_embed", lambda call: answer)
    assert client.embed_crops([b"a", b"b"], "arcface").found.tolist() == [False, False]


def test_a_bad_picture_is_the_same_error_as_over_grpc(client, fake):
    fake.script("face_detect", fails(grpc.StatusCode.INVALID_ARGUMENT, "image_format: not a picture"))
    with pytest.raises(BadPicture, match="image_format: not a picture"):
        client.detect(b"photo")


def test_a_busy_gateway_is_asked_again(client, fake):
    answers = iter([fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")] * 2)
    default = fake._scripts["face_detect"]
    fake.script("face_detect", lambda call: next(answers, default)(call))
    assert len(client.detect(b"photo").boxes) == 1


def test_a_call_ends_at_its_timeout(gateway, fake):
    fake.script("face_detect", sleeps(5))
    with FaceClient(f"http://127.0.0.1:{gateway.port}", 0.5) as client, pytest.raises(DeadlineExceeded):
        client.detect(b"photo")


def test_a_gateway_that_is_away_is_busy_until_the_timeout():
    with FaceClient("http://127.0.0.1:1", 0.5) as client:
        assert not client.ready()
        with pytest.raises(Busy, match="gateway_unavailable"):
            client.detect(b"photo")


def test_the_key_is_sent(fake, tmp_path):
    (tmp_path / "keys").write_text("a-key-of-many-letters\n")
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=tmp_path / "keys") as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        with FaceClient(url, 3, key="a-key-of-many-letters") as client:
            assert len(client.detect(b"photo").boxes) == 1
        with FaceClient(url, 3) as client, pytest.raises(Unauthorised):
            client.detect(b"photo")


@pytest.mark.parametrize(
    "page", [b"<html>sign in</html>", b"[]", b'{"images": [{}], "models": [1]}', b'"text"', b"1 x"]
)
@pytest.mark.parametrize("model", ["facenet", "arcface"])
def test_a_proxys_own_page_with_status_200_is_an_error(page, model, monkeypatch):
    async def request(self, method, path, deadline, body=None):
        return page

    monkeypatch.setattr(Gateway, "_request", request)
    with FaceClient("http://127.0.0.1:1", 0.5) as client:
        for call in (
            lambda: client.detect(b"a"),
            lambda: client.embed(b"a", model),
            lambda: client.embedding_id(model),
        ):
            with pytest.raises(BadUpstream, match="the gateway's answer cannot be read"):
                call()
        with pytest.raises(BadUpstream, match="the gateway's answer cannot be read"):
            client.embed_crops([b"a"], model)
        with pytest.raises(BadUpstream, match="the gateway's answer cannot be read"):
            client.compare_crops(b"a", b"b")


@pytest.mark.parametrize(
    ("status", "text", "kind", "code"),
    [
        pytest.param(422, b'{"error":{"code":"image_format","message":"no"}}', BadPicture, "image_format", id="json"),
        pytest.param(503, b"busy: try again", Busy, "busy", id="text"),
        pytest.param(418, b"", BadUpstream, "gateway_failed", id="unknown-status"),
        pytest.param(502, b"<html>proxy</html>", BadUpstream, "gateway_failed", id="a-proxy"),
        pytest.param(400, b"[1]", BadRequest, "gateway_failed", id="other-json"),
    ],
)
def test_an_answer_that_is_no_success_becomes_its_error(status, text, kind, code):
    error = _failure(status, text)
    assert isinstance(error, ServiceError)
    assert type(error) is kind
    assert error.code == code
