import re
from html.parser import HTMLParser

from client.settings import Settings
from client.v1.docs import docs_page
from client.v1.openapi import document

PAGE = docs_page(document(Settings()))


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.targets, self.scripts = [], [], 0

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.scripts += tag == "script" or any(name.startswith("on") or name == "style" for name in given)
        if "id" in given:
            self.ids.append(given["id"])
        if "href" in given:
            self.targets.append(given["href"])


def links():
    found = Links()
    found.feed(PAGE)
    return found


def test_every_route_schema_and_failure_has_its_place():
    described = document(Settings())
    for path in described["paths"]:
        assert f" {path}</code></h2>" in PAGE
    for name in described["components"]["schemas"]:
        assert f'<h3 id="{name}">' in PAGE
    for status in described["components"]["responses"]:
        assert f"<td><code>{status}</code></td>" in PAGE


def test_every_link_leads_somewhere_on_this_server():
    found = links()
    assert len(set(found.ids)) == len(found.ids)
    inside = [target[1:] for target in found.targets if target.startswith("#")]
    assert inside
    assert set(inside) <= set(found.ids)
    assert all(target.startswith(("#", "/")) for target in found.targets)
    assert "http" not in re.sub(r"http://127\.0\.0\.1:8080", "", PAGE)


def test_there_is_no_script_and_no_style_in_the_page():
    assert links().scripts == 0


def test_texts_are_escaped():
    described = document(Settings())
    described["info"]["description"] = "<b>&</b>"
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in docs_page(described)


def test_the_page_is_served_under_the_policy(gateway):
    reply = gateway.request("GET", "/docs")
    assert reply.text == PAGE
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
