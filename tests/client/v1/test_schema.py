from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from client.v1.schema import About, options_schema, schema_of, without_none


@dataclass(frozen=True)
class Inner:
    """Something inside."""

    name: str


@dataclass(frozen=True)
class Outer:
    """Something outside."""

    count: Annotated[int, About("How many.", 0, 32)]
    inner: list[Inner]
    maybe: float | None


@dataclass(frozen=True)
class Asked:
    """What may be asked."""

    kind: Annotated[Literal["a", "b"], About("Which.")] = "a"
    least: Annotated[float | None, About("The least.", 0, 1)] = None


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (bool, {"type": "boolean"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (str, {"type": "string"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[float, float], {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            Annotated[int, About("inner"), About("Outermost words win.")],
            {"type": "integer", "description": "Outermost words win."},
        ),
    ],
    ids=str,
)
def test_a_type_has_its_schema(kind, schema):
    assert schema_of(kind, {}) == schema


def test_a_dataclass_is_described_once_and_referred_to():
    components = {}
    assert schema_of(Outer, components) == {"$ref": "#/components/schemas/Outer"}
    assert schema_of(Outer, components) == {"$ref": "#/components/schemas/Outer"}
    assert components["Outer"] == {
        "type": "object",
        "description": "Something outside.",
        "required": ["count", "inner", "maybe"],
        "properties": {
            "count": {"type": "integer", "description": "How many.", "minimum": 0, "maximum": 32},
            "inner": {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}},
            "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
    }
    assert set(components) == {"Outer", "Inner"}


def test_an_option_tells_its_default_where_it_has_one():
    assert options_schema(Asked, {}) == {
        "kind": {"type": "string", "enum": ["a", "b"], "description": "Which.", "default": "a"},
        "least": {"type": "number", "description": "The least.", "minimum": 0, "maximum": 1},
    }


def test_an_option_is_either_left_out_or_of_its_type():
    assert without_none(Annotated[float | None, About("x")]) == Annotated[float, About("x")]
    assert without_none(Annotated[bool, About("x")]) == Annotated[bool, About("x")]
