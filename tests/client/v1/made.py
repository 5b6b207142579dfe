"""Requests to /v1 as clients make them."""

import json

from tests.client.live import LiveGateway, Reply, base64_of

BOUNDARY = "a-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"Content-Type": "application/json"}


def form_of(*pictures: bytes, field: str = "image", **options: str) -> bytes:
    """A form as curl -F writes it: a file for each picture, a text for each option."""
    parts = [
        b'Content-Disposition: form-data; name="%s"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n%s'
        % (field.encode(), picture)
        for picture in pictures
    ]
    parts += [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in options.items()
    ]
    lines = [b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part) for part in parts]
    return b"".join(lines) + b"--%s--\r\n" % BOUNDARY.encode()


def json_of(*pictures: bytes, **options: object) -> bytes:
    return json.dumps({"images": [base64_of(picture) for picture in pictures], **options}).encode()


def post_form(gateway: LiveGateway, path: str, *pictures: bytes, **options: str) -> Reply:
    return gateway.post(path, form_of(*pictures, **options), FORM)


def post_json(gateway: LiveGateway, path: str, *pictures: bytes, **options: object) -> Reply:
    return gateway.post(path, json_of(*pictures, **options), JSON)


def answer_of(reply: Reply) -> dict:
    assert reply.status == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    return json.loads(reply.body)


def error_of(reply: Reply) -> tuple[int, str]:
    """Status and code of a refusal."""
    document = json.loads(reply.body)
    assert set(document) == {"error", "request_id"}
    assert document["request_id"] == reply.headers["x-request-id"]
    assert document["error"]["message"]
    return reply.status, document["error"]["code"]
