"""JSON Schema of the dataclasses that /v1 takes and gives, so that code and description cannot part."""

import dataclasses
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]


@dataclass(frozen=True)
class About:
    """What a field means, in words, and the bounds of its number, both included. Stands in `Annotated`."""

    words: str
    low: float | None = None
    high: float | None = None


def schema_of(kind: Any, components: dict[str, Schema]) -> Schema:
    """The schema of a type; dataclasses are put into `components` by name and referred to."""
    if dataclasses.is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in components:
            components[name] = {}  # holds the place while its fields are described
            components[name].update(_of_dataclass(kind, components))
        return {"$ref": f"#/components/schemas/{name}"}
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is Annotated:
        return schema_of(arguments[0], components) | _of_about(arguments[-1])
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, components) for one in arguments]}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], components)}
    if origin is tuple:
        size = len(arguments)
        return {"type": "array", "items": schema_of(arguments[0], components), "minItems": size, "maxItems": size}
    return {"type": PLAIN[kind]}


def options_schema(kind: type, components: dict[str, Schema]) -> dict[str, Schema]:
    """The properties of a dataclass of options: each may be left out, and those with a fixed default name it."""
    properties = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        properties[field.name] = schema_of(without_none(hints[field.name]), components)
        if field.default is not None:
            properties[field.name]["default"] = field.default
    return properties


def without_none(kind: Any) -> Any:
    """`Annotated[T | None, about]` as `Annotated[T, about]`: None only says that an option was left out."""
    plain, *_, about = get_args(kind)
    (only,) = [one for one in get_args(plain) if one is not type(None)] if type(None) in get_args(plain) else [plain]
    return Annotated[only, about]


PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def _of_dataclass(kind: Any, components: dict[str, Schema]) -> Schema:
    hints = get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "description": kind.__doc__,
        "required": [field.name for field in dataclasses.fields(kind)],
        "properties": {name: schema_of(hint, components) for name, hint in hints.items()},
    }


def _of_about(about: About) -> Schema:
    schema: Schema = {"description": about.words}
    if about.low is not None:
        schema["minimum"] = about.low
    if about.high is not None:
        schema["maximum"] = about.high
    return schema
