"""Requests that schemathesis makes up from /openapi.json, right ones and wrong ones: each is answered as described."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.config import SchemathesisConfig

from client.v1.body import FILE_FIELDS
from client.v1.operations import OPERATIONS

CONFIG = SchemathesisConfig.from_path(Path(__file__).parent / "schemathesis.toml")


def is_the_same_as_a_right_form(case: schemathesis.Case) -> bool:
    """Whether an option is a list of none or one: a form sends it as nothing, or as its element, and both are right."""
    if case.media_type != "multipart/form-data" or not isinstance(case.body, dict):
        return False
    options = (value for name, value in case.body.items() if name not in FILE_FIELDS)
    return any(isinstance(option, list) and len(option) < 2 for option in options)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", OPERATIONS)
def test_every_request_is_answered_as_described(gateway, path, mode):
    described = schemathesis.openapi.from_url(f"http://127.0.0.1:{gateway.port}/openapi.json", config=CONFIG)

    @settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=described[path]["POST"].as_strategy(generation_mode=mode))
    def check(case):
        assume(not is_the_same_as_a_right_form(case))
        case.call_and_validate()

    check()
