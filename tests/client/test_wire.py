"""Bodies row by row as reliability.md's table of hostile inputs numbers them, and the bytes of answers."""

import base64
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import wire
from client.errors import BadRequest, ServiceError, TooLarge
from client.settings import Settings
from tests.client.live import base64_of, body_of

SETTINGS = Settings()
ALL_PARSERS = [wire.parse_images, wire.parse_images_of_any_key, wire.parse_images_of_likely_key]
A, B, C = b"picture a", b"picture b!", b"picture c"


def code_of(parse, body, settings=SETTINGS):
    with pytest.raises(ServiceError) as error:
        parse(body, settings)
    return error.value.code


def one(text):
    return json.dumps({"images": [text]}).encode()


@pytest.mark.parametrize("parse", ALL_PARSERS, ids=lambda parse: parse.__name__)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "body_empty", id="row01-empty"),
        pytest.param(b"{", "json_invalid", id="row01-open-brace"),
        pytest.param(b"{} x", "json_invalid", id="row01-rubbish-after"),
        pytest.param(b"[]", "json_not_object", id="row01-list"),
        pytest.param(b'"x"', "json_not_object", id="row01-string"),
        pytest.param(b"1", "json_not_object", id="row01-number"),
        pytest.param(b"null", "json_not_object", id="row01-null"),
        pytest.param(b'{"images": "\xff"}', "json_encoding", id="row02-not-utf8"),
        pytest.param(body_of(A).decode().encode("utf-16"), "json_encoding", id="row02-utf16"),
        pytest.param(body_of(A).decode().encode("utf-16-le"), "json_invalid", id="row02-utf16-without-bom"),
        pytest.param(b"\xef\xbb\xbf" + body_of(A), "json_invalid", id="row02-bom"),
        pytest.param(b"\xed\xa0\x80", "json_encoding", id="row02-utf8-surrogate"),
        pytest.param(b"[" * 100_000, "json_too_deep", id="row03-100000-brackets"),
        pytest.param(b'{"a":' * 9_000, "json_too_deep", id="row03-9000-objects"),
        pytest.param(b'{"images": ' + b"[" * 900 + b"]" * 900 + b"}", "image_not_text", id="row03-900-deep"),
        pytest.param(b'{"cnt": ' + b"1" * 5_000 + b"}", "json_number", id="row04-5000-digits"),
        pytest.param(b'{"cnt": NaN}', "json_number", id="row05-nan"),
        pytest.param(b'{"cnt": Infinity}', "json_number", id="row05-infinity"),
        pytest.param(b'{"cnt": -Infinity}', "json_number", id="row05-minus-infinity"),
        pytest.param(b'{"cnt": 1e400}', "json_number", id="row05-1e400"),
        pytest.param(b'{"images": ["AAAA"], "images": ["AAAA"]}', "json_duplicate_key", id="row06-twice"),
        pytest.param(b'{"images": ["AAAA"], "x": {"y": 1, "y": 1}}', "json_duplicate_key", id="row06-twice-inside"),
        pytest.param(rb'{"\ud800": 1, "images": ["AAAA"]}', "json_surrogate", id="row07-surrogate-key"),
        pytest.param(rb'{"images": ["AAAA"], "x": [["\uDC00"]]}', "json_surrogate", id="row07-surrogate-value"),
        pytest.param(rb'{"images": ["\ud800"]}', "json_surrogate", id="row07-surrogate-image"),
        pytest.param(b"{}", "images_missing", id="row08-missing"),
        pytest.param(b'{"images": null}', "images_missing", id="row08-null"),
        pytest.param(b'{"images": "AAAA"}', "images_missing", id="row08-string"),
        pytest.param(b'{"images": {"0": "AAAA"}}', "images_missing", id="row08-object"),
        pytest.param(b'{"images": []}', "images_empty", id="row08-empty"),
        pytest.param(b'{"images": [null]}', "image_not_text", id="row08-item-null"),
        pytest.param(b'{"images": [1]}', "image_not_text", id="row08-item-number"),
        pytest.param(b'{"images": [["AAAA"]]}', "image_not_text", id="row08-item-list"),
        pytest.param(b'{"images": [""]}', "image_empty", id="row08-item-empty"),
        pytest.param(one("===="), "image_base64", id="row16-only-padding"),
        pytest.param(one("    "), "image_empty", id="row16-only-blanks"),
        pytest.param(one("-_-_"), "image_base64", id="row16-url-safe"),
        pytest.param(one("QUJD\u00e9"), "image_base64", id="row16-non-ascii"),
        pytest.param(one("QUJ"), "image_base64", id="row16-no-padding"),
        pytest.param(one("QUI=Q"), "image_base64", id="row16-after-padding"),
        pytest.param(one("QQ==QUJD"), "image_base64", id="row16-two-texts"),
        pytest.param(one("data:text/plain;base64,QUJD"), "image_base64", id="row17-data-text"),
        pytest.param(one("data:image/png,QUJD"), "image_base64", id="row17-data-not-base64"),
        pytest.param(one("data:image/;base64,QUJD"), "image_base64", id="row17-no-type"),
        pytest.param(one("data:image/png;charset=utf-8;base64,QUJD"), "image_base64", id="row17-parameter"),
        pytest.param(one(" data:image/png;base64,QUJD"), "image_base64", id="row17-blank-before"),
        pytest.param(one("base64,QUJD"), "image_base64", id="row17-half-a-prefix"),
    ],
)
def test_a_bad_body_is_refused(parse, body, code):
    assert code_of(parse, body) == code
    with pytest.raises(BadRequest):
        parse(body, SETTINGS)


@pytest.mark.parametrize("body", [b"[" * 16_000_000, b"[]," * 5_000_000, b"1.5," * 4_000_000, b'{"a":' * 3_000_000])
def test_row03_a_body_of_brackets_or_values_costs_little(body):
    start = time.perf_counter()
    with pytest.raises(ServiceError):
        wire.parse_images(b'{"images":' + body, SETTINGS)
    assert time.perf_counter() - start < 1.0


def test_the_index_of_the_bad_item_is_named():
    with pytest.raises(BadRequest, match=r"images\[1\]"):
        wire.parse_images(json.dumps({"images": [base64_of(A), 7]}).encode(), SETTINGS)


@pytest.mark.parametrize("key", ["\U0001f600", "\u202eabc", "a\x00b"], ids=["emoji", "right-to-left", "nul"])
def test_row07_odd_keys_are_only_keys(key):
    assert wire.parse_images(body_of(A, **{key: 1}), SETTINGS) == (A,)


def test_row07_a_whole_surrogate_pair_is_a_character():
    assert wire.parse_images(rb'{"images": ["QUJD"], "x": "\ud83d\ude00 \\ud800"}', SETTINGS) == (b"ABC",)


@pytest.mark.parametrize("cnt", [0, -1, 1.0, True, "2", None, 10**18, [], {}], ids=repr)
def test_row11_cnt_is_never_read(cnt):
    assert wire.parse_images(body_of(A, B, cnt=cnt), SETTINGS) == (A, B)


def test_row12_32_pictures_but_not_33():
    assert len(wire.parse_images(body_of(*[A] * 32), SETTINGS)) == 32
    with pytest.raises(TooLarge, match="images_too_many"):
        wire.parse_images(body_of(*[A] * 33), SETTINGS)
    with pytest.raises(TooLarge, match="json_too_many_values"):
        wire.parse_images(body_of(*[b"a"] * 100_000), SETTINGS)


def test_row12_a_picture_of_the_largest_size_but_not_one_byte_more():
    largest = bytes(SETTINGS.max_image_bytes)
    assert wire.parse_images(body_of(largest), SETTINGS) == (largest,)
    assert wire.parse_picture(largest, SETTINGS) == (largest,)
    with pytest.raises(TooLarge, match="image_too_large"):
        wire.parse_images(body_of(largest + b"x"), SETTINGS)
    with pytest.raises(TooLarge, match="image_too_large"):
        wire.parse_picture(largest + b"x", SETTINGS)


def test_as_many_values_as_may_be_and_one_more():
    most = SETTINGS.max_json_values
    assert wire.parse_images(body_of(A, more=[0] * most), SETTINGS) == (A,)
    with pytest.raises(TooLarge, match="json_too_many_values"):
        wire.parse_images(body_of(A, more=[0] * (most + 1)), SETTINGS)


def test_row13_extra_keys_are_ignored():
    assert wire.parse_images(body_of(A, imgs=["x"], note="y", cnt=2), SETTINGS) == (A,)


@pytest.mark.parametrize("key", ["imgs", "pictures", "images", "\u00e9"])
def test_row13_any_one_key_for_the_case_study(key):
    assert wire.parse_images_of_any_key(body_of(A, B, key=key, cnt=2, note=["1", 2]), SETTINGS) == (A, B)


def test_row13_two_lists_of_texts_are_ambiguous():
    assert code_of(wire.parse_images_of_any_key, body_of(A, imgs=[base64_of(B)])) == "images_ambiguous"


def test_row13_images_wins_where_the_body_decides():
    assert wire.parse_images_of_likely_key(body_of(A, imgs=[base64_of(B)]), SETTINGS) == (A,)
    assert wire.parse_images_of_likely_key(body_of(B, key="imgs"), SETTINGS) == (B,)


def test_row14_the_case_study_may_ask_with_none():
    assert wire.parse_images_of_any_key(b'{"imgs": []}', SETTINGS, least=0) == ()


@pytest.mark.parametrize("blank", ["\n", "\r\n", " ", "\t", "!", "*"])
def test_row15_base64_skips_what_is_not_base64(blank):
    text = base64_of(bytes(range(256)))
    assert wire.parse_images(one(blank.join(text)), SETTINGS) == (bytes(range(256)),)


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", "data:image/svg+xml;base64,", "DATA:image/JPEG;base64,"])
def test_row17_a_data_url_is_stripped(prefix):
    assert wire.parse_images(one(prefix + base64_of(A)), SETTINGS) == (A,)


def test_an_empty_body_is_no_picture():
    assert code_of(wire.parse_picture, b"") == "body_empty"


def test_a_picture_where_json_is_due_is_told_so() -> None:
    with pytest.raises(BadRequest, match="takes JSON with pictures in base64, not a picture itself"):
        wire.parse_images(b"\xff\xd8\xff\xe0rest", SETTINGS)


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\n\x00\r\nWEBP"])
def test_a_picture_is_known_by_its_first_bytes(start):
    assert wire.looks_like_a_picture(start + b"rest")


@pytest.mark.parametrize("start", [b"", b"{", b" {", b"hello", b"\xef\xbb\xbf{", b"\xff\xfe{\x00", b"%PDF"])
def test_what_is_no_picture_is_taken_for_json(start):
    assert not wire.looks_like_a_picture(start + b"rest")


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(body):
    for parse in ALL_PARSERS:
        try:
            assert all(parse(body, SETTINGS))
        except ServiceError as error:
            assert 400 <= error.status < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["images", "imgs", "cnt"]) | st.text(), JSON))
def test_any_json_parses_or_is_refused(document):
    test_any_bytes_parse_or_are_refused.hypothesis.inner_test(json.dumps(document).encode())


@given(st.lists(st.binary(min_size=1), min_size=1, max_size=32))
def test_what_a_client_packs_is_unpacked(pictures):
    assert wire.parse_images(body_of(*pictures), SETTINGS) == tuple(pictures)


def test_no_message_repeats_what_the_caller_sent():
    canary = "Zm9yYmlkZGVuY2FuYXJ5"
    for body in (one(canary + "-"), body_of(A, **{canary: canary, "imgs": [canary]}), canary.encode()):
        with pytest.raises(ServiceError) as error:
            wire.parse_images_of_any_key(body, SETTINGS)
        assert canary not in str(error.value)


def float32(*numbers):
    return np.array(numbers, np.float32)


def test_embeddings_are_a_list_of_lists_of_doubles():
    rows = float32(0.03212345764040947, -0.0, 1e-7).reshape(1, 3)
    assert wire.embeddings_json(rows) == "[[0.03212345764040947, -0.0, 1.0000000116860974e-07]]"


def test_one_embedding_is_flat():
    assert wire.embedding_json(float32(0.5, -1.0).reshape(1, 2)) == "[0.5, -1.0]"


def test_boxes_and_bounds():
    box = float32(1.5, 2.0, 3.0, 4.0, 0.75).reshape(1, 5)
    assert wire.boxes_json(box) == "[[1.5, 2.0, 3.0, 4.0, 0.75]]"
    assert wire.bounds_json(box) == '{"bounds": [[1.5, 2.0, 3.0, 4.0, 0.75]]}'
    none = np.zeros((0, 5), np.float32)
    assert (wire.boxes_json(none), wire.bounds_json(none)) == ("[]", '{"bounds": []}')


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (0.68390214, "0.68390214"),
        (0.8515841, "0.8515841"),
        (0.868024, "0.868024"),
        (1.1234567, "1.1234567"),
        (1.3151882, "1.3151882"),
        (0.1, "0.1"),
        (0.0, "0.0"),
        (1.0, "1.0"),
        (2.0, "2.0"),
        (0.012345678, "0.01234567"),
        (1.2345678e-05, "0.00001234"),
        (1.7011632e-07, "0.00000017"),
        (1e-30, "0.00000000"),
    ],
)
def test_a_distance_is_cut_to_ten_bytes(distance, text):
    assert wire.distance_text(distance) == text


@given(st.floats(0, 2, width=32, allow_subnormal=False))
def test_a_distance_is_always_a_decimal(distance):
    text = wire.distance_text(distance)
    assert len(text) <= 10
    assert abs(float(text) - distance) < 1e-7 * max(1, 10 * distance)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.03212345764040947, "0.0321234576404"),
        (1.2345679e-05, "1.23456793517e-05"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-0.5, "-0.5"),
    ],
)
def test_arcface_numbers_are_python_2s(number, text):
    assert wire.arcface_text(float32(number)) == text


def test_arcface_numbers_are_joined_by_one_space():
    assert wire.arcface_text(float32(0.5, -1, 0)) == "0.5 -1.0 0.0"


RECORDED = Path(__file__).resolve().parents[3] / "shared" / "golden" / "uai" / "cases.json"


def recorded(*classes):
    if not RECORDED.is_file():
        pytest.skip("the recordings of the original (../shared/golden/uai) are not here")
    cases = json.loads(RECORDED.read_text())
    return [case["response"] for case in cases if case["class"] in classes and case["status"] == 200]


def test_recorded_embeddings_are_written_byte_by_byte():
    answers = recorded("FaceEmbedModel")
    assert answers
    for answer in answers:
        assert wire.embeddings_json(np.array(json.loads(answer), np.float32)) == answer


def test_recorded_flat_embeddings_are_written_byte_by_byte():
    answers = recorded("FaceEmbedModelAutoBatch")
    assert answers
    for answer in answers:
        assert wire.embedding_json(np.array([json.loads(answer)], np.float32)) == answer


def test_recorded_arcface_embeddings_are_written_byte_by_byte():
    answers = [answer for answer in recorded("InsightFaceModel") if answer != "None"]
    assert answers
    for answer in answers:
        assert wire.arcface_text(np.array(answer.split(" "), np.float64).astype(np.float32)) == answer


def test_recorded_distances_are_written_byte_by_byte():
    answers = [answer for answer in recorded("FaceCompareModel", "FaceCompareJsonModel") if "e" not in answer]
    answers = [answer for answer in answers if answer != "-1"]
    assert answers
    for answer in answers:
        assert wire.distance_text(np.float32(answer)) == answer


def test_base64_of_a_long_picture_is_fast():
    body = one(base64.encodebytes(bytes(8_000_000)).decode())
    start = time.perf_counter()
    wire.parse_images(body, SETTINGS)
    assert time.perf_counter() - start < 1.0
