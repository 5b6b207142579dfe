import asyncio
import json
import time

import grpc
import numpy as np
import pytest

from client import wire
from client.errors import BadPicture, BadRequest, BadUpstream, TooLarge
from client.services import SERVICES, service_for
from client.settings import Settings
from client.triton import Triton
from tests.client.live import body_of
from tests.fakes.triton import BOX, embedding_of, fails, sleeps

SETTINGS = Settings()
A, B, C = b"picture a", b"picture b", b"picture c"
JPEG = b"\xff\xd8\xff\xe0 a face"
ANY_KEY = ["FaceCompareJsonModel", "FaceDetectionJsonModel", "FaceCompareService"]


def ask(fake, name, body, seconds=5.0):
    """The text that the class, or for None the body, answers."""

    async def main():
        triton = Triton(fake.url)
        await triton.start()
        deadline = time.monotonic() + seconds
        try:
            service = SERVICES[name] if name else service_for(body)
            return await service.answer(triton, service.parse(body, SETTINGS), deadline)
        finally:
            await triton.close()

    return asyncio.run(main())


def models(fake):
    return [call.model for call in fake.calls]


def distance(first, second):
    return wire.distance_text(np.linalg.norm(embedding_of(first) - embedding_of(second)).astype(np.float32))


def test_there_are_the_eight_classes_of_the_original():
    assert set(SERVICES) == {
        "FaceCompareModel",
        "FaceEmbedModel",
        "FaceEmbedModelAutoBatch",
        "FaceDetectionModel",
        "FaceCompareJsonModel",
        "FaceDetectionJsonModel",
        "FaceCompareService",
        "InsightFaceModel",
    }


@pytest.mark.parametrize(("name", "key"), [("FaceCompareModel", "images"), ("FaceCompareJsonModel", "imgs")])
def test_compare_of_two_is_one_call(fake, name, key):
    assert ask(fake, name, body_of(A, B, key=key, cnt=2)) == distance(A, B)
    assert models(fake) == ["facenet_compare"]


def test_compare_of_one_is_minus_one_after_the_picture_was_run(fake):
    assert ask(fake, "FaceCompareModel", body_of(A)) == "-1"
    assert models(fake) == ["facenet_embed"]


def test_compare_of_one_bad_picture_is_its_error(fake):
    fake.script("facenet_embed", fails(grpc.StatusCode.INVALID_ARGUMENT, "image_unreadable: no"))
    with pytest.raises(BadPicture):
        ask(fake, "FaceCompareModel", body_of(A))


def test_compare_of_three_embeds_all_and_compares_the_first_two(fake):
    assert ask(fake, "FaceCompareModel", body_of(A, B, C)) == distance(A, B)
    assert models(fake) == ["facenet_embed", "face_distance"]
    assert fake.calls[0].inputs["IMAGE"].tolist() == [[A], [B], [C]]


@pytest.mark.parametrize("name", ["FaceCompareModel", "FaceCompareJsonModel", "FaceEmbedModel"])
def test_none_is_refused(fake, name):
    with pytest.raises(BadRequest, match="images_empty"):
        ask(fake, name, body_of())
    assert not fake.calls


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name].parse is not wire.parse_picture])
def test_more_than_32_are_refused(fake, name):
    with pytest.raises(TooLarge):
        ask(fake, name, body_of(*[A] * 33))
    assert not fake.calls


def test_embed_is_a_row_a_picture(fake):
    rows = json.loads(ask(fake, "FaceEmbedModel", body_of(A, B)))
    assert rows == [embedding_of(A).tolist(), embedding_of(B).tolist()]


def test_embed_of_a_raw_picture_is_flat(fake):
    assert json.loads(ask(fake, "FaceEmbedModelAutoBatch", A)) == embedding_of(A).tolist()


@pytest.mark.parametrize("name", ["FaceDetectionModel", "FaceDetectionJsonModel"])
def test_detection_ignores_exif(fake, name):
    body = A if name == "FaceDetectionModel" else body_of(A, B, key="imgs")
    answer = json.loads(ask(fake, name, body))
    assert (answer if name == "FaceDetectionModel" else answer["bounds"]) == BOX.tolist()
    assert models(fake) == ["face_detect"]
    assert fake.calls[0].parameters["apply_exif"] is False
    assert fake.calls[0].inputs["IMAGE"].tolist() == [A]


@pytest.mark.parametrize(("name", "text"), [("FaceDetectionModel", "[]"), ("FaceDetectionJsonModel", '{"bounds": []}')])
def test_no_face_is_an_empty_list(fake, name, text):
    fake.script("face_detect", lambda call: {"BOXES": BOX[:0]})
    assert ask(fake, name, A if name == "FaceDetectionModel" else body_of(A)) == text


def test_the_case_study_compares_the_best_faces(fake):
    assert ask(fake, "FaceCompareService", body_of(A, B, key="imgs")) == distance(A, B)
    assert sorted(models(fake)) == ["face_distance", "facenet_photo", "facenet_photo"]
    for call in fake.calls[:2]:
        assert call.parameters["apply_exif"] is False
        assert call.parameters["crop"] == "case_study"
        assert sorted(call.outputs) == ["BOXES", "EMBEDDING"]


@pytest.mark.parametrize("pictures", [(), (A,), (A, B, C)], ids=len)
def test_the_case_study_takes_two(fake, pictures):
    assert ask(fake, "FaceCompareService", body_of(*pictures, key="imgs")) == "-1"
    assert not fake.calls


def test_the_case_study_without_a_face_is_minus_one(fake):
    zero = {"BOXES": BOX[:0], "EMBEDDING": np.zeros((1, 512), np.float32)}
    fake.script("facenet_photo", lambda call: zero)
    assert ask(fake, "FaceCompareService", body_of(A, B)) == "-1"
    assert "face_distance" not in models(fake)


def test_the_case_study_takes_row_0_of_several(fake):
    def two_faces(call):
        embedding = embedding_of(call.inputs["IMAGE"][0])
        return {"BOXES": np.repeat(BOX, 2, 0), "EMBEDDING": np.stack([embedding, -embedding])}

    fake.script("facenet_photo", two_faces)
    assert ask(fake, "FaceCompareService", body_of(A, B)) == distance(A, B)


def test_boxes_without_their_embeddings_are_not_passed_on(fake):
    fake.script("facenet_photo", lambda call: {"BOXES": np.repeat(BOX, 2, 0), "EMBEDDING": embedding_of(A)[None]})
    with pytest.raises(BadUpstream):
        ask(fake, "FaceCompareService", body_of(A, B))


def test_a_failed_photo_ends_the_other(fake):
    def bad_a(call):
        if call.inputs["IMAGE"][0] == A:
            return fails(grpc.StatusCode.INVALID_ARGUMENT, "image_unreadable: no")(call)
        return sleeps(5)(call)

    fake.script("facenet_photo", bad_a)
    start = time.monotonic()
    with pytest.raises(BadPicture):
        ask(fake, "FaceCompareService", body_of(A, B))
    assert time.monotonic() - start < 2


def test_arcface_is_numbers_or_none(fake):
    assert ask(fake, "InsightFaceModel", JPEG) == wire.arcface_text(embedding_of(JPEG, 192))
    fake.script(
        "arcface_embed",
        lambda call: {"EMBEDDING": np.zeros((1, 192), np.float32), "FOUND": np.zeros((1, 1), np.bool_)},
    )
    assert ask(fake, "InsightFaceModel", JPEG) == "None"


def test_without_a_class_the_body_decides(fake):
    assert ask(fake, None, JPEG) == wire.arcface_text(embedding_of(JPEG, 192))
    assert ask(fake, None, body_of(A, B)) == distance(A, B)
    assert ask(fake, None, body_of(A, B, C)) == distance(A, B)
    assert ask(fake, None, body_of(A, B, key="imgs")) == distance(A, B)
    assert json.loads(ask(fake, None, body_of(A))) == [embedding_of(A).tolist()]


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b'{"images": []}'])
def test_without_a_class_rubbish_is_refused(fake, body):
    with pytest.raises(BadRequest):
        ask(fake, None, body)
