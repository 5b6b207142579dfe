import asyncio
import time

import grpc
import numpy as np
import pytest

from client.errors import BadPicture, BadRequest, BadUpstream, Busy, TooLarge
from client.thresholds import THRESHOLDS
from client.triton import Triton
from client.v1 import work
from client.v1.answers import CroppedFace, EmbeddedFace, Face, FailedImage
from client.v1.body import Asked
from client.v1.options import Compare, Detect, Embed
from tests.fakes.triton import embedding_of, fails, sleeps

A, B, C = b"picture a", b"picture b", b"picture c"
BAD = fails(grpc.StatusCode.INVALID_ARGUMENT, "in ensemble 'facenet_photo', image_truncated: the picture ends early")
TOO_LARGE = TooLarge("image_too_large", "images[0] has too many bytes")


def ask(fake, task, options, *pictures, seconds=5.0):
    async def main():
        triton = Triton(fake.url)
        await triton.start()
        try:
            return await task(triton, Asked(pictures, options), time.monotonic() + seconds)
        finally:
            await triton.close()

    return asyncio.run(main())


def photo(*boxes, embeddings=None, count=None):
    """A script that finds these faces in any photo, with the landmarks at (i, i) for face i."""
    n = len(boxes)

    def script(call):
        rows = embeddings if embeddings is not None else [embedding_of(bytes([i])) for i in range(n)]
        return {
            "BOXES": np.array(boxes, np.float32).reshape(-1, 5),
            "LANDMARKS": np.stack([np.full((5, 2), i, np.float32) for i in range(n)])
            if n
            else np.zeros((0, 5, 2), np.float32),
            "EMBEDDING": np.array(rows, np.float32) if n else np.zeros((1, 512), np.float32),
            "FACE_COUNT": np.array([n if count is None else count], np.int32),
            "FACENET_CROPS": np.array([b"crop %d" % i for i in range(n)], np.object_),
        }

    return script


SMALL, LARGE = [0, 0, 10, 10, 0.9], [0, 0, 20, 30, 0.8]


def only(script_of):
    """A script that treats picture A so and finds nothing special in the others."""

    def script(call):
        chosen = script_of if call.inputs["IMAGE"][0] == A else photo(SMALL)
        return chosen(call)

    return script


def test_every_face_is_found_in_the_order_of_the_model(fake):
    fake.script("face_detect", photo(SMALL, LARGE))
    (image,) = ask(fake, work.detect, Detect(), A).images
    assert [face.score for face in image.faces] == [0.9, 0.8]
    assert image.faces[1].landmarks.nose == (1, 1)
    assert image.face_count == 2
    assert all(type(face) is Face for face in image.faces)


def test_the_largest_face_is_that_of_the_largest_box(fake):
    fake.script("face_detect", photo(SMALL, LARGE))
    (image,) = ask(fake, work.detect, Detect(faces="largest"), A).images
    assert [face.box.x2 for face in image.faces] == [20]
    assert image.face_count == 2


def test_a_photo_without_a_face_is_an_answer(fake):
    for model in ("face_detect", "facenet_photo", "face_crops"):
        fake.script(model, photo())
    for options in (Detect(), Detect(faces="largest"), Detect(crops="facenet")):
        assert ask(fake, work.detect, options, A).images[0].faces == []
    assert ask(fake, work.embed, Embed(), A).images[0].faces == []


def test_crops_come_with_their_faces(fake):
    fake.script("face_crops", photo(SMALL, LARGE, count=40))
    (image,) = ask(fake, work.detect, Detect(crops="facenet"), A).images
    assert [face.crop for face in image.faces] == ["Y3JvcCAw", "Y3JvcCAx"]
    assert image.face_count == 40
    (largest,) = ask(fake, work.detect, Detect(crops="facenet", faces="largest"), A).images[0].faces
    assert isinstance(largest, CroppedFace)
    assert largest.crop == "Y3JvcCAx"
    assert fake.calls[-1].outputs == ["BOXES", "LANDMARKS", "FACE_COUNT", "FACENET_CROPS"]


def test_each_face_has_its_own_embedding(fake):
    fake.script("facenet_photo", photo(SMALL, LARGE, count=33))
    embedded = ask(fake, work.embed, Embed(), A)
    (image,) = embedded.images
    assert image.face_count == 33
    for index, face in enumerate(image.faces):
        assert isinstance(face, EmbeddedFace)
        assert np.array_equal(np.array(face.embedding, np.float32), embedding_of(bytes([index])))
    (largest,) = ask(fake, work.embed, Embed(faces="largest"), A).images[0].faces
    assert np.array_equal(np.array(largest.embedding, np.float32), embedding_of(bytes([1])))
    assert (embedded.model, embedded.embedding_id) == ("facenet", "facenet-fake")


def test_the_model_and_the_options_reach_triton(fake):
    ask(fake, work.embed, Embed(model="arcface", min_score=0.9, min_face_size=40.0, apply_exif=False), A)
    ask(fake, work.detect, Detect(), A)
    embed, detect = fake.calls
    assert (embed.model, detect.model) == ("arcface_photo", "face_detect")
    given = {"threshold_onet": 0.9, "min_face_size": 40.0, "apply_exif": False}
    assert {name: value for name, value in embed.parameters.items() if name != "timeout"} == given
    assert {name: value for name, value in detect.parameters.items() if name != "timeout"} == {"apply_exif": True}


def test_answers_keep_the_order_of_the_pictures(fake):
    async def slower_first(call):
        picture = call.inputs["IMAGE"][0]
        await asyncio.sleep(0.3 if picture == A else 0.0)
        return photo(SMALL, embeddings=[embedding_of(picture)])(call)

    fake.script("facenet_photo", slower_first)
    images = ask(fake, work.embed, Embed(), A, B, C).images
    for picture, image in zip((A, B, C), images, strict=True):
        assert np.array_equal(np.array(image.faces[0].embedding, np.float32), embedding_of(picture))


def test_a_few_pictures_at_a_time_are_in_triton(fake):
    running = most = 0
    enough = asyncio.Event()

    async def script(call):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == work.SIDE_BY_SIDE:
            enough.set()
        await enough.wait()
        await asyncio.sleep(0.05)  # for those too many to come
        running -= 1
        return photo(SMALL)(call)

    fake.script("face_detect", script)
    assert len(ask(fake, work.detect, Detect(), *[b"%d" % i for i in range(12)], seconds=20.0).images) == 12
    assert most == work.SIDE_BY_SIDE


def test_a_bad_picture_fails_alone(fake):
    fake.script("facenet_photo", only(BAD))
    first, second, third = ask(fake, work.embed, Embed(), B, A, TOO_LARGE).images
    assert len(first.faces) == 1
    assert second == FailedImage(work.answers.Problem("image_truncated", "the picture ends early"))
    assert third.error.code == "image_too_large"


def test_the_request_fails_where_every_picture_does(fake):
    fake.script("face_detect", BAD)
    with pytest.raises(BadPicture, match="image_truncated"):
        ask(fake, work.detect, Detect(), A, TOO_LARGE)
    with pytest.raises(TooLarge, match="image_too_large"):
        ask(fake, work.detect, Detect(), TOO_LARGE, A)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"), Busy),
        (fails(grpc.StatusCode.INTERNAL, "stub"), BadUpstream),
        (fails(grpc.StatusCode.INVALID_ARGUMENT, "parameter_invalid: min_face_size"), BadRequest),
    ],
)
def test_any_other_failure_fails_the_request(fake, script, kind):
    fake.script("face_detect", only(script))
    with pytest.raises(kind):
        ask(fake, work.detect, Detect(), B, A)


def test_a_failure_ends_the_calls_beside_it(fake):
    async def fails_beside_another(call):
        while len(fake.calls) < 2:
            await asyncio.sleep(0.01)
        return fails(grpc.StatusCode.INTERNAL, "stub")(call)

    def script(call):
        return fails_beside_another(call) if call.inputs["IMAGE"][0] == A else sleeps(30)(call)

    fake.script("face_detect", script)
    with pytest.raises(BadUpstream):
        ask(fake, work.detect, Detect(), A, B, seconds=60.0)
    (beside,) = (call for call in fake.calls if call.inputs["IMAGE"][0] == B)
    until = time.monotonic() + 10
    while not beside.cancelled:
        assert time.monotonic() < until, "the call goes on"
        time.sleep(0.01)


def test_rows_that_do_not_belong_together_are_not_passed_on(fake):
    fake.script("facenet_photo", photo(SMALL, LARGE, embeddings=[embedding_of(A)]))
    with pytest.raises(BadUpstream):
        ask(fake, work.embed, Embed(), A)

    def fewer_crops(call):
        return photo(SMALL, LARGE)(call) | {"FACENET_CROPS": np.array([b"one"], np.object_)}

    fake.script("face_crops", fewer_crops)
    with pytest.raises(BadUpstream):
        ask(fake, work.detect, Detect(crops="facenet"), A)


def test_the_same_picture_twice_is_one_person(fake):
    compared = ask(fake, work.compare, Compare(threshold=1.1), A, A)
    assert (compared.match, compared.distance, compared.threshold) == (True, 0.0, 1.1)
    (pair,) = compared.pairs
    assert (pair.first, pair.second, pair.match) == (0, 0, True)
    assert pair.cosine == pytest.approx(1, abs=1e-6)
    assert [len(image.faces) for image in compared.images] == [1, 1]


def test_distance_and_cosine_are_those_of_the_embeddings(fake):
    (pair,) = ask(fake, work.compare, Compare(threshold=0.5), A, B).pairs
    first, second = embedding_of(A), embedding_of(B)
    assert pair.distance == pytest.approx(np.linalg.norm(first - second), abs=1e-6)
    assert pair.cosine == pytest.approx(first @ second, abs=1e-6)
    assert pair.match is False


def test_all_faces_are_compared_closest_first(fake):
    first, second = (
        [embedding_of(b"1"), embedding_of(b"2")],
        [embedding_of(b"3"), embedding_of(b"1"), embedding_of(b"2")],
    )

    def script(call):
        rows = first if call.inputs["IMAGE"][0] == A else second
        return photo(*[SMALL] * len(rows), embeddings=rows)(call)

    fake.script("facenet_photo", script)
    compared = ask(fake, work.compare, Compare(faces="all", threshold=1.0), A, B)
    assert len(compared.pairs) == 6
    assert {(pair.first, pair.second) for pair in compared.pairs if pair.match} == {(0, 1), (1, 2)}
    distances = [pair.distance for pair in compared.pairs]
    assert distances == sorted(distances)
    assert compared.match is True


def test_the_threshold_is_the_measured_one_unless_another_is_sent(fake, monkeypatch):
    assert ask(fake, work.compare, Compare(), A, A).threshold is None
    assert ask(fake, work.compare, Compare(), A, A).match is None
    monkeypatch.setitem(THRESHOLDS, "facenet-fake", 0.75)
    assert ask(fake, work.compare, Compare(), A, A).threshold == 0.75
    assert ask(fake, work.compare, Compare(threshold=0), A, A).threshold == 0
    assert ask(fake, work.compare, Compare(threshold=0), A, A).match is False


def test_without_a_face_there_is_nothing_to_say(fake):
    fake.script("facenet_photo", only(photo()))
    compared = ask(fake, work.compare, Compare(threshold=1), A, B)
    assert (compared.match, compared.distance, compared.pairs) == (None, None, [])
    assert [image.face_count for image in compared.images] == [0, 1]


@pytest.mark.parametrize(("pictures", "which"), [((A, B), 1), ((B, A), 2)])
def test_a_bad_picture_of_two_is_named(fake, pictures, which):
    fake.script("facenet_photo", only(BAD))
    with pytest.raises(BadPicture) as caught:
        ask(fake, work.compare, Compare(), *pictures)
    assert (caught.value.code, caught.value.message) == ("image_truncated", f"picture {which}: the picture ends early")
