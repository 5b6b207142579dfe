import asyncio
import hashlib

import pytest

from client.keys import ApiKey, read_keys
from client.middleware import Errors, RequestId
from client.settings import SettingsError
from tests.client.asgi import answers, call, scope_of

FIRST, SECOND = "first-key-of-many-characters", "second-key-of-many-characters"


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# who has which\n{FIRST}\n\n  {SECOND}  \n")
    return read_keys(path)


def status(keys, path="/service", **headers):
    app = RequestId(Errors(ApiKey(answers(), keys)))
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return asyncio.run(call(app, scope_of("POST", path, given))).status


def test_without_keys_all_may_come():
    assert status(()) == 200


@pytest.mark.parametrize("key", [FIRST, SECOND])
def test_any_of_the_keys_opens(keys, key):
    assert status(keys, authorization=f"Bearer {key}") == 200
    assert status(keys, authorization=f"bearer  {key}") == 200
    assert status(keys, x_api_key=key) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": FIRST[:-1]},
        {"x_api_key": FIRST + "x"},
        {"x_api_key": "# who has which"},
        {"x_api_key": "é\udce9".encode("utf-8", "surrogateescape").decode("latin-1")},
        {"authorization": FIRST},
        {"authorization": f"Basic {FIRST}"},
        {"authorization": "Bearer"},
    ],
    ids=repr,
)
def test_nothing_else_opens(keys, headers):
    assert status(keys, **headers) == 401


def test_the_answer_says_how():
    app = RequestId(Errors(ApiKey(answers(), (b"x" * 32,))))
    reply = asyncio.run(call(app, scope_of("POST", "/service")))
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.text.startswith("api_key: ")


@pytest.mark.parametrize(
    ("path", "open_to_all"), [("/health/live", True), ("/health/ready", True), ("/metrics", False)]
)
def test_health_needs_no_key(keys, path, open_to_all):
    assert status(keys, path) == (200 if open_to_all else 401)


@pytest.mark.parametrize(
    "content", [b"", b"# only\n", b"short\n", FIRST.encode() + b"\nshort\n", b"\xff\n", "é".encode() * 20]
)
def test_a_file_without_good_keys_is_refused(tmp_path, content):
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="FACE_API_KEYS_FILE") as error:
        read_keys(path)
    assert "short\n" not in str(error.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "keys"
    path.write_text(FIRST, "utf-8-sig")
    assert read_keys(path) == (hashlib.sha256(FIRST.encode()).digest(),)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        read_keys(tmp_path / "none")
