"""Rows 1 to 18 of reliability.md: bodies, over HTTP. What each parser makes of them is in tests/client/test_wire.py."""

import base64
import json

import grpc
import pytest

from tests.client.live import base64_of, body_of
from tests.fakes.triton import fails
from tests.hostile.conftest import GOOD_ANSWER, A, B

MIB = 1024 * 1024
TEXT = base64_of(A)
JSON_CLASSES = ["FaceCompareModel", "FaceEmbedModel", "FaceCompareJsonModel", "FaceDetectionJsonModel"]


def one(text):
    return json.dumps({"images": [text]}).encode()


def with_cnt(cnt):
    return b'{"cnt": %s, "images": ["%s", "%s"]}' % (cnt, TEXT.encode(), base64_of(B).encode())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="row01-empty"),
        pytest.param(b"{", id="row01-open-brace"),
        pytest.param(b"{} x", id="row01-rubbish-after"),
        pytest.param(b"[]", id="row01-list"),
        pytest.param(b'"x"', id="row01-string"),
        pytest.param(b"1", id="row01-number"),
        pytest.param(b"null", id="row01-null"),
        pytest.param(b'{"images": "\xff"}', id="row02-not-utf8"),
        pytest.param(body_of(A).decode().encode("utf-16"), id="row02-utf16"),
        pytest.param(b"\xef\xbb\xbf" + body_of(A), id="row02-bom"),
        pytest.param(b"[" * 100_000, id="row03-100000-brackets"),
        pytest.param(b'{"images": ' + b"[" * 900 + b"]" * 900 + b"}", id="row03-900-deep"),
        pytest.param(b'{"cnt": ' + b"1" * 5_000 + b"}", id="row04-5000-digits"),
        pytest.param(with_cnt(b"NaN"), id="row05-nan"),
        pytest.param(with_cnt(b"Infinity"), id="row05-infinity"),
        pytest.param(with_cnt(b"-Infinity"), id="row05-minus-infinity"),
        pytest.param(with_cnt(b"1e400"), id="row05-1e400"),
        pytest.param(with_cnt(b'1, "cnt": 2'), id="row06-duplicate-key"),
        pytest.param(with_cnt(rb'"\ud800"'), id="row07-surrogate-value"),
        pytest.param(with_cnt(rb'1, "\udfff": 1'), id="row07-surrogate-key"),
        pytest.param(b'{"cnt": 1}', id="row08-missing"),
        pytest.param(b'{"images": null}', id="row08-null"),
        pytest.param(b'{"images": "AAAA"}', id="row08-string"),
        pytest.param(b'{"images": {}}', id="row08-object"),
        pytest.param(b'{"images": []}', id="row08-empty"),
        pytest.param(b'{"images": [null]}', id="row08-item-null"),
        pytest.param(b'{"images": [1]}', id="row08-item-number"),
        pytest.param(b'{"images": [[]]}', id="row08-item-list"),
        pytest.param(b'{"images": [""]}', id="row08-item-empty"),
        pytest.param(b'{"cnt": 0, "images": []}', id="row14-compare-of-none"),
        pytest.param(one(base64.urlsafe_b64encode(b"\xff\xfe\xfd" * 9).decode()), id="row16-url-safe"),
        pytest.param(one(TEXT + "\u00e9"), id="row16-non-ascii"),
        pytest.param(one("QUJ"), id="row16-bad-padding"),
        pytest.param(one("QQ==QUJD"), id="row16-after-padding"),
        pytest.param(one("data:text/plain;base64," + TEXT), id="row17-other-prefix"),
        pytest.param(one("data:image/png," + TEXT), id="row17-not-base64"),
    ],
)
@pytest.mark.parametrize("path", ["/service", "/service/FaceCompareModel"])
def test_400(gateway, fake, path, body):
    reply = gateway.post(path, body)
    assert (reply.status, fake.calls) == (400, [])
    assert len(reply.text) < 200


@pytest.mark.parametrize("name", JSON_CLASSES)
def test_row08_the_index_is_named(gateway, name):
    body = json.dumps({"images": [TEXT, TEXT, 5]}).encode()
    assert "images[2]" in gateway.post(f"/service/{name}", body).text


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of(A, B), id="row09-cnt-missing"),
        pytest.param(with_cnt(b"7"), id="row10-cnt-wrong"),
        *(
            pytest.param(with_cnt(cnt), id=f"row11-cnt-{cnt.decode()}")
            for cnt in (b"0", b"-1", b"1.0", b"true", b'"2"', b"null", b"1000000000000000000")
        ),
        pytest.param(body_of(A, B, **{"\U0001f600": 1, "\u202eabc": 2, "a\x00b": 3}), id="row07-odd-keys"),
        pytest.param(body_of(A, B, note="x", more=[1, {"a": None}]), id="row13-extra-keys"),
        pytest.param(body_of(A, B, b"third"), id="row14-three"),
        pytest.param(
            json.dumps({"images": ["\r\n ".join(TEXT), "\t".join(base64_of(B))]}).encode(), id="row15-blanks-in-base64"
        ),
        pytest.param(
            json.dumps({"images": ["data:image/png;base64," + TEXT, base64_of(B)]}).encode(), id="row17-data-url"
        ),
    ],
)
@pytest.mark.parametrize("path", ["/service", "/service/FaceCompareModel"])
def test_200_and_the_same_answer(gateway, path, body):
    reply = gateway.post(path, body)
    assert (reply.status, reply.text) == (200, GOOD_ANSWER)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(body_of(*[A] * 32), 200, id="row12-32"),
        pytest.param(body_of(*[A] * 33), 413, id="row12-33"),
        pytest.param(body_of(*[b"a"] * 100_000), 413, id="row12-100000"),
        pytest.param(body_of(bytes(8 * MIB)), 200, id="row12-8-mib"),
        pytest.param(body_of(bytes(8 * MIB + 1)), 413, id="row12-8-mib-and-one"),
    ],
)
def test_row12(gateway, body, status):
    assert gateway.post("/service/FaceEmbedModel", body).status == status


@pytest.mark.parametrize("name", ["FaceEmbedModelAutoBatch", "FaceDetectionModel", "InsightFaceModel"])
def test_row12_a_raw_picture_of_8_mib_and_one_byte_more(gateway, name):
    assert gateway.post(f"/service/{name}", bytes(8 * MIB)).status == 200
    assert gateway.post(f"/service/{name}", bytes(8 * MIB + 1)).status == 413


@pytest.mark.parametrize("key", ["imgs", "pictures", "\u00e9"], ids=ascii)
def test_row13_any_key_for_the_case_study(gateway, key):
    assert gateway.post("/service/FaceCompareJsonModel", body_of(A, B, key=key)).text == GOOD_ANSWER


def test_row13_two_lists(gateway, fake):
    assert gateway.post("/service/FaceCompareJsonModel", body_of(A, B, imgs=[TEXT])).status == 400
    assert not fake.calls


@pytest.mark.parametrize("name", ["FaceCompareModel", "FaceCompareJsonModel"])
def test_row14_compare_of_one(gateway, name):
    reply = gateway.post(f"/service/{name}", body_of(A))
    assert (reply.status, reply.text) == (200, "-1")


def test_row18_a_flipped_character_is_tritons_to_judge(gateway, fake):
    fake.script("facenet_compare", fails(grpc.StatusCode.INVALID_ARGUMENT, "image_unreadable: not a picture"))
    middle = len(TEXT) // 2
    flipped = TEXT[:middle] + ("A" if TEXT[middle] != "A" else "B") + TEXT[middle + 1 :]
    assert gateway.post("/service", json.dumps({"images": [flipped, TEXT]}).encode()).status == 422
