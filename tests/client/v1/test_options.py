import pytest

from client.errors import BadRequest
from client.v1.options import Compare, Detect, Embed, from_text, read_options


def test_nothing_needs_to_be_asked():
    assert read_options(Detect, {}) == Detect(faces="all", apply_exif=True, crops="none")
    assert read_options(Compare, {}).faces == "largest"
    assert read_options(Embed, {}).parameters() == {"apply_exif": True}


def test_what_is_asked_reaches_the_models_in_their_words():
    options = read_options(Embed, {"apply_exif": False, "min_face_size": 40, "min_score": 0.9, "model": "arcface"})
    assert options.parameters() == {"apply_exif": False, "min_face_size": 40.0, "threshold_onet": 0.9}
    assert options.model == "arcface"


@pytest.mark.parametrize(
    "given",
    [
        {"faces": "most"},
        {"faces": None},
        {"faces": ["all"]},
        {"faces": {}},
        {"apply_exif": 1},
        {"apply_exif": "true"},
        {"min_score": "0.5"},
        {"min_score": True},
        {"min_score": 1.01},
        {"min_score": -0.01},
        {"min_score": float("nan")},
        {"min_score": None},
        {"min_face_size": 11.9},
        {"min_face_size": 10**31},
        {"encoding": "hex"},
        {"model": "FaceNet"},
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_refused_by_the_name_of_its_option(given):
    (name,) = given
    with pytest.raises(BadRequest, match=f"option_invalid: {name} must be"):
        read_options(Embed, given)


@pytest.mark.parametrize("name", ["crop", "threshold", "Faces", "", "no_such_option"])
def test_an_unknown_option_is_refused_with_the_known_and_not_repeated(name):
    with pytest.raises(BadRequest, match=r"option_unknown: .*known are faces, apply_exif") as caught:
        read_options(Embed, {name: 1})
    assert "no_such_option" not in str(caught.value)


@pytest.mark.parametrize("value", [0, 2, 1.1])
def test_a_bound_is_inside(value):
    assert read_options(Compare, {"threshold": value}).threshold == value


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("apply_exif", "true", True),
        ("apply_exif", "false", False),
        ("apply_exif", "1", "1"),
        ("min_score", "0.5", 0.5),
        ("min_score", "half", "half"),
        ("faces", "largest", "largest"),
        ("unknown", "0.5", "0.5"),
    ],
)
def test_a_text_of_a_form_becomes_what_json_would_say(name, text, value):
    assert from_text(Detect, name, text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "", "half"])
def test_a_text_that_is_no_number_in_bounds_is_refused(text):
    with pytest.raises(BadRequest, match="option_invalid: min_score must be a number from 0 to 1"):
        read_options(Detect, {"min_score": from_text(Detect, "min_score", text)})
