"""The OpenAPI 3.1 document, written from the same rows and dataclasses that answer."""

from ..settings import MIB, Settings
from .answers import Failure, Models
from .body import FILE_FIELDS
from .operations import OPERATIONS, Operation
from .schema import Schema, options_schema, schema_of

# One grey pixel, so that an example can be sent as it stands.
TINY_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="

FAILURES = {
    "400": "The request cannot be understood; the message says why.",
    "408": "The body did not arrive in time.",
    "413": "The body or a picture is too large, or there are too many pictures.",
    "415": "The body is neither JSON nor a form with files, or it is compressed.",
    "422": "No picture could be used: the code and message are those of the first.",
    "502": "Triton answered wrongly.",
    "503": "The server is full or not ready; try again after Retry-After seconds.",
    "504": "The answer took too long.",
    "default": "Any other failure.",
}

DESCRIPTION = """\
Faces, embeddings and comparisons of photos. Send photos as a form (curl -F image=@photo.jpg) or as base64 in JSON;
options are fields of the form or of the JSON. Photos are JPEG, PNG, WebP or BMP of at most {image:g} MiB and 25
megapixels, up to {images} of them and {body:g} MiB in all. Nothing that is sent is stored or logged.\
"""


def document(settings: Settings) -> Schema:
    """The description of a gateway with these settings."""
    components: dict[str, Schema] = {}
    paths = {path: {"post": _post(operation, settings, components)} for path, operation in OPERATIONS.items()}
    paths["/v1/models"] = {"get": _get("models", "Models, their identity, and limits", Models, components)}
    failure = schema_of(Failure, components)
    described: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Face embedding server",
            "version": "1",
            "description": DESCRIPTION.format(
                image=settings.max_image_bytes / MIB, images=settings.max_images, body=settings.max_body_bytes / MIB
            ),
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                status: {"description": words, "content": {"application/json": {"schema": failure}}}
                for status, words in FAILURES.items()
            },
        },
    }
    if settings.api_keys_file:
        described["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        described["security"] = [{"bearer": []}, {"key": []}]
    return described


def _post(operation: Operation, settings: Settings, components: dict[str, Schema]) -> Schema:
    options = options_schema(operation.options, components)
    count = {"minItems": operation.pictures or 1, "maxItems": operation.pictures or settings.max_images}
    text = {"type": "string", "minLength": 1, "contentEncoding": "base64", "format": "byte"}
    file = {"type": "string", "format": "binary"}
    json_body = _object({"images": {"type": "array", "items": text, **count}, **options})
    form = _object({"image": {"type": "array", "items": file, **count}, **options})
    json_body["properties"]["images"]["description"] = "Pictures as base64; a data URL is understood too."
    form["properties"]["image"]["description"] = f"Files, each in a field {' or '.join(FILE_FIELDS)} of its own."
    example = {"images": [TINY_PNG] * (operation.pictures or 1)}
    return _get(operation.work.__name__, operation.summary, operation.answer, components) | {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": json_body, "example": example},
            },
        }
    }


def _object(properties: dict[str, Schema]) -> Schema:
    """A request: its first property is what must be there, and nothing else may be."""
    return {
        "type": "object",
        "required": [next(iter(properties))],
        "additionalProperties": False,
        "properties": properties,
    }


def _get(name: str, summary: str, answer: type, components: dict[str, Schema]) -> Schema:
    done: Schema = {
        "description": answer.__doc__,
        "content": {"application/json": {"schema": schema_of(answer, components)}},
    }
    if "embedding_id" in answer.__annotations__:
        done["headers"] = {"X-Embedding-Id": {"description": "As embedding_id.", "schema": {"type": "string"}}}
    failures = {status: {"$ref": f"#/components/responses/{status}"} for status in FAILURES}
    return {"operationId": name, "summary": summary, "responses": {"200": done, **failures}}
