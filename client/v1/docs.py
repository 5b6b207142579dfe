"""The OpenAPI document as one page of HTML, without scripts: for people, and for machines that stand alone."""

from collections.abc import Iterable, Sequence
from html import escape

from .schema import Schema

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API of the face embedding server</title>
<link rel="stylesheet" href="/page/style.css">
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
</head>
<body class="docs">
<header><h1>API</h1><nav><a href="/">Try it</a> <a href="/openapi.json">OpenAPI document</a></nav></header>
<main>
<p>{description}</p>
<p>A request that fails is answered <code>{{"error": {{"code": "…", "message": "…"}}, "request_id": "…"}}</code>:
the code is for programs, the message for people.</p>
{operations}
<section><h2 id="failures">Failures</h2>
{failures}
</section>
<section><h2 id="schemas">Answers</h2>
{schemas}
</section>
</main>
</body>
</html>
"""


def docs_page(document: Schema) -> str:
    """The whole page."""
    components = document["components"]
    return PAGE.format(
        description=escape(document["info"]["description"]),
        operations="\n".join(
            _operation(method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ),
        failures=_table(
            ("status", "when"),
            [(f"<code>{status}</code>", escape(r["description"])) for status, r in components["responses"].items()],
        ),
        schemas="\n".join(_schema(name, schema) for name, schema in components["schemas"].items()),
    )


def _operation(method: str, path: str, operation: Schema) -> str:
    parts = [f'<section><h2 id="{operation["operationId"]}"><code>{method} {path}</code></h2>']
    parts.append(f"<p>{escape(operation['summary'])}.</p>")
    parts.append(f"<pre><code>{escape(_curl(method, path, operation))}</code></pre>")
    if "requestBody" in operation:
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        parts.append(_table(("field", "type", "default", "meaning"), [_option(*o) for o in form["properties"].items()]))
        parts.append("<p>In JSON the pictures are a list of base64 under <code>images</code>.</p>")
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    parts.append(f"<p>Answer: {_type(answer)}</p></section>")
    return "\n".join(parts)


def _curl(method: str, path: str, operation: Schema) -> str:
    if "requestBody" not in operation:
        return f"curl http://127.0.0.1:8080{path}"
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    pictures = form["properties"]["image"]["minItems"]
    names = ["photo.jpg"] if pictures == 1 else ["first.jpg", "second.jpg"]
    return " ".join([f"curl http://127.0.0.1:8080{path}", *(f"-F image=@{name}" for name in names)])


def _option(name: str, schema: Schema) -> tuple[str, ...]:
    default = str(schema.get("default", "")).lower() if "type" in schema else ""
    return f"<code>{name}</code>", _type(schema), escape(default), escape(schema.get("description", ""))


def _schema(name: str, schema: Schema) -> str:
    rows = [
        (f"<code>{field}</code>", _type(inner), escape(inner.get("description", "")))
        for field, inner in schema["properties"].items()
    ]
    table = _table(("field", "type", "meaning"), rows)
    return f'<h3 id="{name}">{name}</h3>\n<p>{escape(schema["description"])}</p>\n{table}'


def _type(schema: Schema) -> str:
    """A type in a few words, with links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(value)}</code>" for value in schema["enum"])
    if schema["type"] == "array":
        count = f"{schema['maxItems']} " if schema.get("minItems") == schema.get("maxItems", 0) else ""
        plural = "s" if "type" in schema["items"] else ""
        return f"list of {count}{_type(schema['items'])}{plural}"
    if schema.get("format") == "binary":
        return "file"
    bounds = f" {schema['minimum']:g} to {schema['maximum']:g}" if "minimum" in schema else ""
    return str(schema["type"]) + bounds


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    body = "\n".join(lines)
    return f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
