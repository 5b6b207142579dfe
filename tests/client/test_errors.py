import inspect
import json
import re

import pytest

from client import errors
from client.errors import Busy, ServiceError

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ServiceError) and kind is not ServiceError
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_tree_of_the_docstring_lists_every_error_with_its_status(kind):
    assert re.search(rf"── {kind.__name__} +{kind.status}\b", errors.__doc__)


def test_the_docstring_lists_no_other():
    assert set(re.findall(r"── (\w+)", errors.__doc__)) == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("path", ["/service", "/service/FaceCompareModel", "/udl"])
def test_errors_of_the_uai_routes_are_plain_text(path):
    answer = errors.response(errors.BadRequest("json_invalid", "no JSON"), path, "id1")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body == b"json_invalid: no JSON"


@pytest.mark.parametrize("path", ["/", "/v1/embed", "/services", "//service"])
def test_errors_of_other_routes_are_json(path):
    answer = errors.response(errors.NotFound("not_found", "nothing"), path, "id1")
    assert json.loads(answer.body) == {"error": {"code": "not_found", "message": "nothing"}, "request_id": "id1"}


def test_busy_says_when_to_come_back():
    assert errors.response(Busy("busy", "full"), "/service", "id1").headers["retry-after"] == "1"
