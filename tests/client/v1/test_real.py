"""/v1 before the real Triton, on a photo of an astronaut."""

import base64
import io
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage.data import astronaut

from tests.client.live import body_of
from tests.client.v1.made import FORM, form_of

PHOTO = Image.fromarray(astronaut())


def encoded(picture, format="PNG", **save):
    file = io.BytesIO()
    picture.save(file, format, **save)
    return file.getvalue()


def post(server, path, body, headers):
    request = urllib.request.Request(server.url + path, body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def ask(server, path, *pictures, **options):
    return post(server, path, form_of(*pictures, **options), FORM)


def corners(face):
    return [face["box"][name] for name in ("x1", "y1", "x2", "y2")]


def vector(face):
    return np.array(face["embedding"], np.float32)


def test_a_facenet_crop_has_the_embedding_of_its_face(server):
    photo = encoded(PHOTO)
    (cut,) = ask(server, "/v1/detect", photo, crops="facenet")["images"][0]["faces"]
    crop = base64.b64decode(cut["crop"])
    assert Image.open(io.BytesIO(crop)).size == (160, 160)
    (face,) = ask(server, "/v1/embed", photo)["images"][0]["faces"]
    (row,) = post(server, "/service/FaceEmbedModel", body_of(crop), {})
    assert np.abs(np.array(row, np.float32) - vector(face)).max() < 1e-5
    assert face["box"] == cut["box"]


def test_an_arcface_crop_is_upright_and_shows_the_face(server):
    turned = PHOTO.rotate(25, Image.Resampling.BICUBIC)
    (cut,) = ask(server, "/v1/detect", encoded(turned), crops="arcface")["images"][0]["faces"]
    crop = Image.open(io.BytesIO(base64.b64decode(cut["crop"])))
    assert crop.size == (112, 112)
    upright = ask(server, "/v1/detect", encoded(PHOTO), crops="arcface")["images"][0]["faces"][0]["crop"]
    upright = Image.open(io.BytesIO(base64.b64decode(upright)))
    assert likeness(crop, upright) > 0.9
    assert likeness(crop.rotate(25), upright) < 0.8


def likeness(first, second):
    """Correlation of two pictures' grey values, inside the round that a turn leaves filled."""
    inside = np.hypot(*(np.indices((112, 112)) - 55.5)) < 50
    return np.corrcoef(*(np.asarray(one.convert("L"), float)[inside] for one in (first, second)))[0, 1]


def test_both_encodings_are_the_same_numbers(server):
    photo = encoded(PHOTO)
    for model, size in (("facenet", 512), ("arcface", 192)):
        (listed,) = ask(server, "/v1/embed", photo, model=model)["images"][0]["faces"]
        (packed,) = ask(server, "/v1/embed", photo, model=model, encoding="base64")["images"][0]["faces"]
        unpacked = np.frombuffer(base64.b64decode(packed["embedding"]), "<f4")
        assert unpacked.shape == (size,)
        assert np.allclose(unpacked, vector(listed), atol=1e-6)
        assert np.linalg.norm(unpacked) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("model", ["facenet", "arcface"])
def test_one_person_matches_and_the_threshold_is_told(server, model):
    compared = ask(server, "/v1/compare", encoded(PHOTO), encoded(ImageOps.mirror(PHOTO)), model=model)
    (told,) = [one for one in ask_models(server)["models"] if one["name"] == model]
    assert compared["match"] is True
    assert compared["threshold"] == told["distance_threshold"] > compared["distance"] > 0
    assert compared["embedding_id"] == told["embedding_id"]


def ask_models(server):
    with urllib.request.urlopen(server.url + "/v1/models", timeout=60) as answer:
        return json.load(answer)


def test_a_photo_is_turned_upright_unless_told_otherwise(server):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    on_its_side = encoded(PHOTO.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    upright = ask(server, "/v1/detect", encoded(PHOTO))["images"][0]["faces"][0]
    turned = ask(server, "/v1/detect", on_its_side)["images"][0]["faces"][0]
    assert corners(turned) == pytest.approx(corners(upright), abs=4)
    left = ask(server, "/v1/detect", on_its_side, apply_exif="false")["images"][0]["faces"]
    assert all(abs(corners(face)[0] - corners(upright)[0]) > 20 for face in left)


def test_more_faces_than_a_batch_are_counted_and_the_best_answered(server):
    face = PHOTO.crop((140, 20, 300, 220)).resize((80, 100))
    crowd = Image.new("RGB", (80 * 7, 100 * 6))
    for place in range(42):
        crowd.paste(face, (place % 7 * 80, place // 7 * 100))
    picture = encoded(crowd)
    found = ask(server, "/v1/detect", picture)["images"][0]
    assert found["face_count"] == len(found["faces"]) >= 40
    (embedded,) = ask(server, "/v1/embed", picture, encoding="base64")["images"]
    assert (embedded["face_count"], len(embedded["faces"])) == (found["face_count"], 32)
    (cut,) = ask(server, "/v1/detect", picture, crops="facenet")["images"]
    assert (cut["face_count"], len(cut["faces"])) == (found["face_count"], 32)


def test_a_photo_without_a_face_has_none(server):
    blank = encoded(Image.new("RGB", (200, 150), (90, 140, 90)))
    for path, options in (("/v1/detect", {}), ("/v1/detect", {"crops": "facenet"}), ("/v1/embed", {})):
        assert ask(server, path, blank, **options)["images"] == [{"face_count": 0, "faces": []}]
    compared = ask(server, "/v1/compare", blank, encoded(PHOTO))
    assert (compared["match"], compared["distance"]) == (None, None)


def test_many_pictures_come_back_in_their_order(server):
    """Each shows the face at another place; a swap would show."""
    pictures = []
    for place in range(12):
        ground = Image.new("RGB", (420, 260), (120, 120, 120))
        ground.paste(PHOTO.crop((140, 20, 300, 220)), (place * 20, 30))
        pictures.append(encoded(ground))
    images = ask(server, "/v1/embed", *pictures, encoding="base64")["images"]
    lefts = [image["faces"][0]["box"]["x1"] for image in images]
    assert np.diff(lefts) == pytest.approx([20] * 11, abs=6)


def test_a_bad_picture_leaves_the_others_answered(server):
    photo = encoded(PHOTO, "JPEG", quality=92)
    images = ask(server, "/v1/embed", b"no picture", photo, photo[: len(photo) // 2], b"")["images"]
    assert [image["error"]["code"] for image in (images[0], images[2], images[3])] == [
        "image_format",
        "image_truncated",
        "image_empty",
    ]
    assert images[1]["face_count"] == 1
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, "/v1/embed", b"no picture")
    with caught.value as refused:
        assert refused.status == 422


def test_fewer_faces_are_found_where_less_is_asked(server):
    photo = encoded(PHOTO)
    assert ask(server, "/v1/detect", photo, min_face_size="300")["images"][0]["face_count"] == 0
    assert ask(server, "/v1/detect", photo, min_score="1")["images"][0]["face_count"] == 0
