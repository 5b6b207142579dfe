import re

import pytest

from client.pages import FOLDER, TYPES
from tests.client.live import LiveGateway

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FILES = sorted(file.name for file in FOLDER.iterdir() if file.suffix in TYPES)


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "application/json"])
def test_clients_of_the_original_are_greeted_as_before(gateway, accept):
    reply = gateway.request("GET", "/", headers={"Accept": accept} if accept else {})
    assert (reply.status, reply.text) == (200, "hello_world!")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["vary"] == "Accept"


def test_a_browser_gets_the_page(gateway):
    reply = gateway.request("GET", "/", headers=BROWSER)
    assert reply.text == (FOLDER / "index.html").read_text()
    assert reply.headers["vary"] == "Accept"


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_page_has_its_type(gateway, name):
    reply = gateway.request("GET", f"/page/{name}")
    assert reply.body == (FOLDER / name).read_bytes()
    assert reply.headers["content-type"].startswith(TYPES["." + name.rpartition(".")[2]])


@pytest.mark.parametrize("path", ["/", "/docs", *(f"/page/{name}" for name in FILES)])
def test_nothing_may_be_loaded_from_elsewhere_or_run_inline(gateway, path):
    headers = gateway.request("GET", path, headers=BROWSER).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_names_no_other_host():
    for file in FOLDER.iterdir():
        addresses = set(re.findall(r"https?://[^\s\"'<>]+", file.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file.name


@pytest.mark.parametrize(
    "path", ["/page/", "/page/index.html", "/page/../app.py", "/page/%2e%2e/app.py", "/page/nothing.js"]
)
def test_nothing_else_of_the_disk_is_served(gateway, path):
    assert gateway.request("GET", path).status == 404


def test_pages_need_no_key_but_what_they_ask_does(fake, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-sixteen-characters\n")
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=keys) as gateway:
        for path in ("/", "/docs", "/openapi.json", "/page/page.js"):
            assert gateway.request("GET", path, headers=BROWSER).status == 200
        for path in ("/v1/models", "/metrics", "/initialized", "/page", "/docs/"):
            assert gateway.request("GET", path).status == 401
        given = {"Authorization": "Bearer a-key-of-sixteen-characters"}
        assert gateway.request("GET", "/v1/models", headers=given).status == 200
