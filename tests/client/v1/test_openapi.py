import dataclasses
import json

import jsonschema_rs
import pytest

from client.settings import Settings
from client.v1.openapi import TINY_PNG, document
from client.v1.operations import OPERATIONS
from tests.client.live import LiveGateway
from tests.client.v1.made import post_form, post_json

A = b"picture a"


def responses(path, method="post"):
    return document(Settings())["paths"][path][method]["responses"]


def validator(schema):
    """Of a schema inside the document."""
    return jsonschema_rs.validator_for({**schema, "components": document(Settings())["components"]})


def test_the_document_is_served_as_it_is_made(gateway):
    assert json.loads(gateway.request("GET", "/openapi.json").body) == document(Settings())
    assert document(Settings())["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", OPERATIONS)
def test_every_option_is_described_for_forms_and_json(path):
    content = document(Settings())["paths"][path]["post"]["requestBody"]["content"]
    options = {field.name for field in dataclasses.fields(OPERATIONS[path].options)}
    assert set(content["multipart/form-data"]["schema"]["properties"]) == options | {"image"}
    assert set(content["application/json"]["schema"]["properties"]) == options | {"images"}
    described = content["application/json"]["schema"]["properties"].values()
    assert all(one.get("description") for one in described)


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/detect", {}),
        ("/v1/detect", {"crops": "arcface"}),
        ("/v1/embed", {}),
        ("/v1/embed", {"encoding": "base64"}),
        ("/v1/compare", {}),
        ("/v1/compare", {"threshold": "1"}),
    ],
)
def test_an_answer_is_as_described(gateway, path, options):
    schema = responses(path)["200"]["content"]["application/json"]["schema"]
    validator(schema).validate(json.loads(post_form(gateway, path, A, A, **options).body))


def test_the_models_are_as_described(gateway):
    schema = responses("/v1/models", "get")["200"]["content"]["application/json"]["schema"]
    validator(schema).validate(json.loads(gateway.request("GET", "/v1/models").body))


def test_a_refusal_is_as_described(gateway):
    schema = document(Settings())["components"]["responses"]["400"]["content"]["application/json"]["schema"]
    validator(schema).validate(json.loads(post_form(gateway, "/v1/detect").body))


def test_the_description_would_notice_a_wrong_answer():
    schema = responses("/v1/detect")["200"]["content"]["application/json"]["schema"]
    assert not validator(schema).is_valid({"images": [{"face_count": "1", "faces": []}]})


@pytest.mark.parametrize("path", OPERATIONS)
def test_the_example_can_be_sent(gateway, path):
    content = document(Settings())["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert TINY_PNG in content["example"]["images"]
    assert validator(content["schema"]).is_valid(content["example"])
    reply = gateway.post(path, json.dumps(content["example"]).encode(), {"Content-Type": "application/json"})
    assert reply.status == 200


def test_limits_and_keys_are_those_of_the_settings(fake, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-sixteen-characters\n")
    described = document(Settings(max_images=5, api_keys_file=keys))
    schema = described["paths"]["/v1/detect"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["images"]["maxItems"] == 5
    assert "up to 5 of them" in described["info"]["description"]
    assert described["security"] == [{"bearer": []}, {"key": []}]
    assert "security" not in document(Settings())
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=keys) as gateway:
        assert gateway.request("GET", "/openapi.json").status == 200
        assert post_json(gateway, "/v1/detect", A).status == 401
