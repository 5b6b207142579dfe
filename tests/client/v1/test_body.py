import asyncio
import json
import tempfile

import pytest
from starlette.datastructures import Headers

from client.errors import BadPicture, ServiceError, TooLarge
from client.settings import Settings
from client.v1.body import read_body
from client.v1.options import Detect
from tests.client.live import base64_of
from tests.client.v1.made import BOUNDARY, FORM, JSON, form_of, json_of

SETTINGS = Settings(max_images=3, max_image_bytes=1024)
A, B = b"\xff\xd8\xffpicture a\r\n--\r\n", b"\x89PNG picture b\x00"


def read(headers, body, settings=SETTINGS):
    return asyncio.run(read_body(Headers(headers), body, Detect, settings))


def code(headers, body):
    with pytest.raises(ServiceError) as caught:
        read(headers, body)
    return caught.value.status, caught.value.code


def test_a_form_and_json_say_the_same():
    asked = read(FORM, form_of(A, B, faces="largest", min_score="0.5", apply_exif="false"))
    assert asked.pictures == (A, B)
    assert asked == read(JSON, json_of(A, B, faces="largest", min_score=0.5, apply_exif=False))


def test_both_names_of_the_file_field_are_known():
    assert read(FORM, form_of(A, field="images")).pictures == (A,)


def test_the_type_may_have_parameters_and_any_case():
    assert read({"Content-Type": "Application/JSON; charset=utf-8"}, json_of(A)).pictures == (A,)
    assert read({"Content-Type": f'Multipart/Form-Data; boundary="{BOUNDARY}"'}, form_of(A)).pictures == (A,)


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "image/jpeg", "application/x-www-form-urlencoded", "multipart/mixed"]
)
def test_another_type_is_refused(media_type):
    assert code({"Content-Type": media_type}, json_of(A)) == (415, "content_type")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "body_empty"),
        (b"{", "json_invalid"),
        (b"[]", "json_not_object"),
        (b"{}", "images_missing"),
        (b'{"images": []}', "images_empty"),
        (b'{"images": [1]}', "image_not_text"),
        (b'{"images": [""]}', "image_empty"),
        (b'{"images": ["____"]}', "image_base64"),
        (b'{"image": "QUFB"}', "images_missing"),
        (b'{"images": ["QUFB"], "cnt": 2}', "cnt_wrong"),
        (b'{"images": ["QUFB"], "cnt": true}', "cnt_wrong"),
        (b'{"images": ["QUFB"], "cnt": "1"}', "cnt_wrong"),
        (b'{"images": ["QUFB"], "imgs": []}', "option_unknown"),
        (b'{"images": ["QUFB"], "faces": "some"}', "option_invalid"),
    ],
)
def test_json_that_cannot_be_understood_is_refused(body, expected):
    assert code(JSON, body) == (400, expected)


def test_cnt_may_be_right():
    assert read(JSON, json_of(A, B, cnt=2)).pictures == (A, B)
    assert read(FORM, form_of(A, B, cnt="2")).pictures == (A, B)


def test_as_many_pictures_as_may_be_and_one_more():
    assert len(read(JSON, json_of(A, A, A)).pictures) == 3
    assert len(read(FORM, form_of(A, A, A)).pictures) == 3
    assert code(JSON, json_of(A, A, A, A)) == (413, "images_too_many")
    assert code(FORM, form_of(A, A, A, A)) == (413, "images_too_many")


@pytest.mark.parametrize(("headers", "make"), [(FORM, form_of), (JSON, json_of)], ids=["form", "json"])
def test_a_picture_that_is_too_large_fails_alone(headers, make):
    exactly, refused, other = read(headers, make(bytes(1024), bytes(1025), A)).pictures
    assert (len(exactly), other) == (1024, A)
    assert isinstance(refused, TooLarge)
    assert (refused.code, refused.message) == ("image_too_large", "images[1] has more than 1024 bytes")
    assert refused.__traceback__ is None


def test_an_empty_file_fails_alone():
    empty, other = read(FORM, form_of(b"", A)).pictures
    assert isinstance(empty, BadPicture)
    assert (empty.code, other) == ("image_empty", A)


FILE = b'--%s\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nAAA\r\n' % BOUNDARY.encode()
END = b"--%s--\r\n" % BOUNDARY.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "form_incomplete"),
        (b"no form", "form_invalid"),
        (FILE, "form_incomplete"),
        (FILE[:-20], "form_incomplete"),
        (END, "images_missing"),
        (form_of(A, field="picture"), "file_unknown"),
        (form_of(A, image="QUFB"), "image_not_file"),
        (form_of(A, cnt="2"), "cnt_wrong"),
        (form_of(A, cnt="1.0"), "cnt_wrong"),
        (form_of(A, colour="red"), "option_unknown"),
        (form_of(A, min_score="much"), "option_invalid"),
        (form_of(A, faces="all" * 400), "form_invalid"),
        (form_of(A, **{f"field{number}": "x" for number in range(20)}), "form_invalid"),
        (FILE.replace(b'name="image"; ', b"") + END, "form_invalid"),
        (FILE.replace(b"Content-Disposition", b"Content-" + b"D" * 70_000) + END, "form_invalid"),
        (FILE.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 1000 + b"\r\n") + END, "form_invalid"),
        (form_of(A, faces="all").replace(END, b"") + form_of(faces="all"), "option_twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:40].decode("latin-1"),
)
def test_a_form_that_cannot_be_understood_is_refused(body, expected):
    assert code(FORM, body) == (400, expected)


@pytest.mark.parametrize("media_type", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 300])
def test_a_form_without_a_usable_boundary_is_refused(media_type):
    assert code({"Content-Type": media_type}, form_of(A)) == (400, "form_invalid")


def test_a_charset_that_cannot_read_the_names_is_refused():
    headers = {"Content-Type": FORM["Content-Type"] + "; charset=punycode"}
    assert code(headers, form_of(A, **{"xn--" + "a" * 99 + "-zzzz": "x"})) == (400, "form_invalid")


def test_no_refusal_repeats_what_was_sent():
    for headers, body in (
        (FORM, form_of(b"canary", field="canary", canary="canary")),
        (FORM, form_of(A, canary="canary")),
        (FORM, form_of(A, faces="canary")),
        (JSON, json.dumps({"images": [base64_of(A)], "canary": "canary"}).encode()),
        (JSON, json.dumps({"images": ["canary!"], "faces": "canary"}).encode()),
    ):
        with pytest.raises(ServiceError) as caught:
            read(headers, body)
        assert "canary" not in caught.value.message


def test_no_part_of_a_form_reaches_a_disk(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a file was opened")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    large = bytes(5 * 1024 * 1024)
    assert read(FORM, form_of(large), Settings()).pictures == (large,)
