"""The Python client, against a Triton with scripted answers and against the real one."""

import asyncio
import io
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from client import AsyncFaceClient, FaceClient, ServiceError, face_client
from client.settings import Settings
from client.thresholds import THRESHOLDS
from tests.client.live import LiveGateway, free_port
from tests.conftest import PROJECT
from tests.fakes.triton import DEFAULTS, Failure, embedding_of, fails, sleeps


@pytest.fixture
def client(fake):
    with FaceClient(fake.url, timeout_seconds=10) as client:
        yield client


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_importing_the_package_imports_no_grpc():
    program = "import sys, client; sys.exit('grpc' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT).returncode == 0


def test_a_name_that_is_not_there_is_an_attribute_error():
    import client

    with pytest.raises(AttributeError, match="no attribute 'FaceClients'"):
        _ = client.FaceClients


@pytest.mark.parametrize(("model", "length"), [("facenet", 512), ("arcface", 192)])
def test_a_photo_is_sent_to_the_photo_model(client, fake, model, length):
    found = client.embed(b"photo", model, {"apply_exif": False})
    assert np.array_equal(found.embeddings, embedding_of(b"photo", length)[None])
    assert fake.calls[-1].model == f"{model}_photo"
    assert fake.calls[-1].parameters["apply_exif"] is False


def test_more_crops_than_a_batch_come_back_in_their_order(client, fake):
    crops = [b"crop %d" % number for number in range(70)]
    found = client.embed_crops(crops)
    assert np.array_equal(found.embeddings, [embedding_of(crop) for crop in crops])
    assert found.found.all()
    assert [len(call.inputs["IMAGE"]) for call in fake.calls] == [32, 32, 6]


def test_large_crops_are_sent_in_batches_that_a_gateway_takes(client, fake):
    crops = [bytes([number]) * 600_000 for number in range(32)]
    found = client.embed_crops(crops)
    assert np.array_equal(found.embeddings, [embedding_of(crop) for crop in crops])
    sizes = [sum(len(row[0]) for row in call.inputs["IMAGE"]) for call in fake.calls]
    assert len(sizes) == 2
    assert max(sizes) * 4 / 3 < Settings.max_body_bytes


def test_crops_with_too_many_pixels_together_are_sent_apart(client, fake):
    def at_most_three(call):
        if len(call.inputs["IMAGE"]) > 3:
            raise Failure(grpc.StatusCode.INVALID_ARGUMENT, "image_too_large: the pictures are too large together")
        return DEFAULTS["facenet_embed"](call)

    fake.script("facenet_embed", at_most_three)
    crops = [b"crop %d" % number for number in range(10)]
    assert np.array_equal(client.embed_crops(crops).embeddings, [embedding_of(crop) for crop in crops])


def test_one_crop_with_too_many_pixels_is_refused(client, fake):
    fake.script("facenet_embed", fails(grpc.StatusCode.INVALID_ARGUMENT, "image_too_large: the picture is 9x9"))
    with pytest.raises(ServiceError, match="image_too_large"):
        client.embed_crops([b"a", b"b"])


def test_no_crops_need_no_server():
    with FaceClient("127.0.0.1:1", timeout_seconds=0.1) as client:
        assert len(client.embed_crops([]).embeddings) == 0


def test_a_crop_in_which_arcface_sees_no_face_is_marked(client, fake):
    fake.script(
        "arcface_embed",
        lambda call: {"EMBEDDING": np.zeros((2, 192), np.float32), "FOUND": np.array([[True], [False]])},
    )
    assert client.embed_crops([b"a", b"b"], "arcface").found.tolist() == [True, False]


def test_a_batch_of_crops_without_any_face_has_the_width_of_the_others(fake):
    def answer(call):
        seen = call.inputs["IMAGE"] != b"none"
        return {"EMBEDDING": np.repeat(seen, 192, axis=1).astype(np.float32), "FOUND": seen}

    fake.script("arcface_embed", answer)
    with LiveGateway(fake.url) as gateway, FaceClient(f"http://127.0.0.1:{gateway.port}", 5) as client:
        found = client.embed_crops([b"none"] * 32 + [b"a face"], "arcface")
    assert found.embeddings.shape == (33, 192)
    assert found.embeddings.any(axis=1).tolist() == found.found.tolist() == [False] * 32 + [True]


def test_a_crop_without_a_face_is_a_row_of_zeros(client, fake):
    answer = {"EMBEDDING": np.ones((2, 192), np.float32), "FOUND": np.array([[True], [False]])}
    fake.script("arcface_embed", lambda call: answer)
    assert client.embed_crops([b"a", b"b"], "arcface").embeddings.tolist() == [[1] * 192, [0] * 192]


@pytest.mark.parametrize("crops", [b"photo", np.zeros((4, 4, 3), np.uint8)], ids=["bytes", "pixels"])
def test_one_crop_instead_of_a_list_is_refused(client, crops):
    with pytest.raises(TypeError, match="crops are a list of photos"):
        client.embed_crops(crops)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda client: client.embed(b"photo", "foo"), id="embed"),
        pytest.param(lambda client: client.compare(b"photo", b"photo", "foo"), id="compare"),
        pytest.param(lambda client: client.embed_crops([], "foo"), id="crops"),
        pytest.param(lambda client: client.embedding_id("foo"), id="identity"),
    ],
)
def test_a_model_that_is_not_there_is_refused(client, call):
    with pytest.raises(ValueError, match="there is no model 'foo'; give facenet or arcface"):
        call(client)


def test_a_key_is_taken_out_of_its_line(fake, tmp_path):
    (tmp_path / "keys").write_text("a-key-of-many-letters\n")
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=tmp_path / "keys") as gateway:
        with FaceClient(f"http://127.0.0.1:{gateway.port}", 5, (tmp_path / "keys").read_text()) as client:
            assert len(client.detect(b"photo").boxes) == 1


@pytest.mark.parametrize("key", ["", "two\nlines-of-a-file", "Schlüssel-mit-Umlaut"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    with pytest.raises(ValueError, match="the key must be a line of printable ASCII"):
        FaceClient("http://127.0.0.1:1", key=key)


def test_a_server_that_is_there_but_not_ready_is_reachable(client, fake):
    assert client.ready() and client.reachable()
    fake.ill.add("face_crops")
    with FaceClient(fake.url) as other, FaceClient("127.0.0.1:1") as nowhere:
        assert not other.ready() and other.reachable()
        assert not nowhere.reachable()


def test_a_busy_server_is_asked_again(client, fake):
    answers = iter([fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")] * 2)
    default = fake._scripts["face_detect"]
    fake.script("face_detect", lambda call: next(answers, default)(call))
    assert len(client.detect(b"photo").boxes) == 1
    assert len(fake.calls) == 3


def test_a_bad_picture_is_not_asked_for_again(client, fake):
    fake.script("face_detect", fails(grpc.StatusCode.INVALID_ARGUMENT, "image_format: not a picture"))
    with pytest.raises(ServiceError) as failure:
        client.detect(b"photo")
    assert failure.value.code == "image_format"
    assert len(fake.calls) == 1


def test_a_call_ends_at_its_timeout(fake):
    fake.script("face_detect", sleeps(5))
    with FaceClient(fake.url, timeout_seconds=0.5) as client:
        begun = time.monotonic()
        with pytest.raises(ServiceError) as failure:
            client.detect(b"photo")
        assert failure.value.code == "deadline_exceeded"
        assert time.monotonic() - begun < 2


def test_a_server_that_is_away_is_busy_until_the_timeout():
    with FaceClient("127.0.0.1:1", timeout_seconds=0.5) as client:
        assert not client.ready()
        with pytest.raises(ServiceError) as failure:
            client.detect(b"photo")
        assert failure.value.code == "triton_unavailable"


def test_pauses_grow_to_a_limit():
    pauses = [face_client.pause(attempt) for attempt in range(20)]
    assert 0.05 <= pauses[0] <= 0.1
    assert all(1 <= pause <= 2 for pause in pauses[5:])


@pytest.mark.parametrize("url", ["", "localhost", "ftp://127.0.0.1:8000", "127.0.0.1:8001,", "http://a:1,http://b:2"])
def test_an_address_of_another_form_is_refused(url):
    with pytest.raises(
        ValueError, match="is no address; give host:port of Triton's gRPC or http://host:port of a gateway"
    ):
        AsyncFaceClient(url)


def test_the_identity_is_asked_for_once(client):
    assert client.embedding_id("arcface") == "arcface-fake"
    assert client.embedding_id("arcface") == "arcface-fake"


def test_threads_share_a_client(client):
    photos = [b"photo %d" % number for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(client.embed, photos))
    assert all(
        np.array_equal(faces.embeddings[0], embedding_of(photo)) for faces, photo in zip(found, photos, strict=True)
    )


def test_a_closed_client_may_be_closed_again(fake):
    client = FaceClient(fake.url)
    client.detect(b"photo")
    client.close()
    client.close()


def test_a_client_that_is_closed_ends_the_calls_of_other_threads():
    client = FaceClient(f"127.0.0.1:{free_port()}", timeout_seconds=60)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.detect, b"photo") for _ in range(4)]
        time.sleep(0.5)
        client.close()
        begun = time.monotonic()
        for call in calls:
            with pytest.raises(ServiceError, match="closed: the client was closed"):
                call.result(10)
    assert time.monotonic() - begun < 5


def test_a_closed_client_says_so(fake):
    client = FaceClient(fake.url)
    client.close()
    with pytest.raises(ServiceError, match="closed: the client was closed"):
        client.detect(b"photo")


def test_calls_of_one_event_loop_run_side_by_side(fake):
    fake.script("face_detect", sleeps(0.3))

    async def ask():
        async with AsyncFaceClient(fake.url) as client:
            await asyncio.gather(*(client.detect(b"photo") for _ in range(10)))

    begun = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - begun < 2


def test_a_program_that_does_not_close_its_client_ends_quietly(fake):
    program = f"from client import FaceClient; print(FaceClient({fake.url!r}).detect(b'photo').boxes.shape)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1, 5)\n", "")


@pytest.fixture(params=["grpc", "http"])
def real(request, server):
    """A client of the real server, by either way."""
    with FaceClient(server.grpc if request.param == "grpc" else server.url) as client:
        assert client.ready()
        yield client


def test_the_real_server_finds_and_embeds_a_face(real):
    faces = real.embed(png(astronaut()))
    assert faces.embeddings.shape == (len(faces.boxes), 512)
    assert faces.found == len(faces.boxes)
    assert np.linalg.norm(faces.embeddings, axis=1) == pytest.approx(np.ones(len(faces.boxes)), abs=1e-5)
    detected = real.detect(astronaut())
    assert np.array_equal(detected.boxes[0], faces.boxes[0])
    assert np.array_equal(detected.landmarks[0], faces.landmarks[0])


@pytest.mark.parametrize("model", ["facenet", "arcface"])
def test_the_real_server_compares_faces(real, model):
    turned = np.ascontiguousarray(astronaut()[:, ::-1])
    assert real.embedding_id(model).startswith(model)
    assert real.compare(astronaut(), turned, model).match


def test_the_real_server_embeds_crops(real):
    crop, wall = np.ascontiguousarray(astronaut()[60:200, 165:285]), np.zeros((112, 112, 3), np.uint8)
    assert real.compare_crops(crop, crop) == pytest.approx(0, abs=1e-3)
    assert real.compare_crops(crop, wall) > 0.5
    assert real.embed_crops([crop, wall]).embeddings.shape == (2, 512)
    found = real.embed_crops([crop, crop], "arcface")
    assert found.found.all()
    assert found.embeddings[0] == pytest.approx(found.embeddings[1])


def test_the_real_server_finds_no_face_in_a_wall(real):
    wall = np.zeros((200, 200, 3), np.uint8)
    assert len(real.detect(wall).boxes) == 0
    assert real.embed(wall).embeddings.shape[0] == 0
    with pytest.raises(ServiceError, match="no_face: the second photo shows no face"):
        real.compare(astronaut(), wall)


@pytest.mark.parametrize(("model", "length"), [("facenet", 512), ("arcface", 192)])
def test_a_wall_has_no_embeddings_of_the_models_width(real, model, length):
    assert real.embed(np.zeros((200, 200, 3), np.uint8), model).embeddings.shape == (0, length)


def test_a_crop_of_a_wall_is_a_row_of_zeros(real):
    crop, wall = np.ascontiguousarray(astronaut()[60:200, 165:285]), np.zeros((112, 112, 3), np.uint8)
    alone, mixed = real.embed_crops([wall], "arcface"), real.embed_crops([crop, wall], "arcface")
    assert np.array_equal(alone.embeddings, np.zeros((1, 192)))
    assert mixed.embeddings.any(axis=1).tolist() == mixed.found.tolist() == [True, False]


def test_both_ways_give_the_same_numbers(server):
    with FaceClient(server.grpc) as grpc_client, FaceClient(server.url) as http_client:
        for model in ("facenet", "arcface"):
            ours, theirs = grpc_client.embed(astronaut(), model), http_client.embed(astronaut(), model)
            assert np.array_equal(ours.boxes, theirs.boxes)
            assert np.array_equal(ours.landmarks, theirs.landmarks)
            assert ours.embeddings == pytest.approx(theirs.embeddings, abs=1e-6)
            assert grpc_client.embedding_id(model) == http_client.embedding_id(model)


def test_the_thresholds_are_those_of_the_document():
    document = (PROJECT / "docs" / "accuracy.md").read_text()
    measured = re.findall(r"### (\S+)\n.*?\| highest accuracy \| ([\d.]+) \|", document, re.DOTALL)
    assert {identity: float(threshold) for identity, threshold in measured} == THRESHOLDS
