"""Writes docs/api.md, the reference of the HTTP API, from its OpenAPI schema.

python tools/make_api_docs.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from schema_words import Schema, default_of, flat, meaning_of, name_of, table, type_of
from skipstep_service.app import create_app
from skipstep_service.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
HEAD = (
    "# API reference\n\n"
    "Routes, parameters, bodies and answers of `skipstep serve`. [service.md](service.md) tells how jobs behave, "
    "[api-adapters.md](api-adapters.md) how the adapters translate, and [service/examples](../service/examples) has "
    "clients that run. This page is made from the OpenAPI schema, which a server has at `/openapi.json` and "
    "`skipstep serve --openapi` prints; `python tools/make_api_docs.py` makes it anew.\n\n"
    "A server with keys wants `Authorization: Bearer KEY` with every request but those for its health."
)
TAGS = {
    "jobs": ("Jobs", ""),
    "models": ("Models", ""),
    "prompt": ("Prompts", "What a language model adds to a prompt: [prompt.md](prompt.md)."),
    "operations": ("Operations", ""),
    "openai": ("OpenAI's images and videos", "What the fields do: [api-adapters.md](api-adapters.md)."),
    "a1111": ("AUTOMATIC1111's web UI", "With `SKIPSTEP_A1111=true`; see [api-adapters.md](api-adapters.md)."),
}
ENVELOPE = "ErrorEnvelope"
FOLDED = 5  # fields of another schema that are named instead of told again
Routes = list[tuple[str, Schema]]


def make_page(schema: Schema) -> str:
    """The reference, as Markdown."""
    routes = [
        (f"{method.upper()} {path}", route)
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    ]
    told = [HEAD, _contents(routes)]
    for tag, (title, intro) in TAGS.items():
        told += [f"## {title}", intro]
        told += [part for name, route in routes if tag in route["tags"] for part in _route(name, route)]
    told += _webhooks(schema.get("webhooks", {}))
    told += ["## Errors", "Answers that are no success have the body [ErrorEnvelope](#errorenvelope).", _errors(routes)]
    told += ["## Schemas", *_schemas(schema["components"]["schemas"], _named_in("\n".join(told)))]
    return "\n\n".join(part for part in told if part) + "\n"


def _contents(routes: Routes) -> str:
    rows = [(f"[`{name}`](#{_anchor(name)})", _first_sentence(route["description"])) for name, route in routes]
    return table(("route", ""), rows)


def _route(name: str, route: Schema) -> Iterator[str]:
    yield f"### `{name}`"
    yield flat(route["description"])
    if route.get("parameters"):
        yield table(("parameter", "in", "type", "default", ""), [_parameter(one) for one in route["parameters"]])
    if "requestBody" in route:
        yield from _body(route["requestBody"]["content"])
    yield from _answers(route["responses"])


def _parameter(one: Schema) -> tuple[str, ...]:
    name = one["name"].title() if one["in"] == "header" else one["name"]
    default = default_of(one["schema"], is_required=one["required"])
    return f"`{name}`", one["in"], type_of(one["schema"]), default, meaning_of(one)


def _body(content: Schema) -> Iterator[str]:
    forms = " or ".join(f"`{form}`" for form in content)
    schema = next(iter(content.values()))["schema"]
    if "properties" in schema:
        yield f"**Body** ({forms}):"
        yield _fields(schema)
        return
    key = schema.get("discriminator", {}).get("propertyName")
    yield f"**Body** ({forms}): {type_of(schema)}" + (f", told apart by `{key}`." if key else ".")


def _answers(responses: Schema) -> Iterator[str]:
    told = {status: one for status, one in sorted(responses.items()) if _refers_to(one) != ENVELOPE}
    yield "\n".join(f"- **{status}**: {_answer(one)}" for status, one in told.items() if "X" not in status)
    errors = [f"[{status}](#errors)" for status in sorted(responses) if status not in told]
    others = {type_of(one["content"]["application/json"]["schema"]) for status, one in told.items() if "X" in status}
    if errors or others:
        yield f"Errors: {', '.join([*errors, *sorted(others)])}."


def _answer(answer: Schema) -> str:
    told = "" if answer["description"] == "Successful Response" else flat(answer["description"])
    bodies = [_of_form(form, one) for form, one in answer.get("content", {}).items()]
    headers = [f"`{name}`: {flat(one['description'])}" for name, one in answer.get("headers", {}).items()]
    parts = [part.rstrip(".") for part in (told, " or ".join(bodies), *headers) if part]
    return ". ".join(parts or ["no body"]) + "."


def _of_form(form: str, content: Schema) -> str:
    schema = content.get("schema", {})
    return type_of(schema) if name_of(schema) else f"`{form}`"


def _webhooks(webhooks: Schema) -> Iterator[str]:
    for name, methods in webhooks.items():
        yield f"## Webhook {name}"
        for request in methods.values():
            yield flat(request["description"])
            yield from _body(request["requestBody"]["content"])


def _errors(routes: Routes) -> str:
    rows = {
        status: (status, _answer({**one, "content": {}}))
        for _, route in routes
        for status, one in route["responses"].items()
        if _refers_to(one) == ENVELOPE
    }
    return table(("status", ""), [rows[status] for status in sorted(rows)])


def _schemas(schemas: Schema, wanted: list[str]) -> Iterator[str]:
    for index, name in enumerate(wanted):  # which grows by those that are named in what is told of these
        schema = schemas[name]
        like, shared = _most_shared(schema, {other: schemas[other] for other in wanted[:index]})
        shown = _fields(schema, without=shared)
        wanted += [other for other in _named_in(shown) if other not in wanted]
        yield f"### {name}"
        yield flat(schema.get("description", ""))
        yield f"As in [{like}](#{like.lower()}): {', '.join(f'`{one}`' for one in shared)}." if shared else ""
        yield shown


def _most_shared(schema: Schema, told: Schema) -> tuple[str, list[str]]:
    """The schema that has most of the same fields, and these; none if they are few."""
    shared = {
        name: [field for field, one in schema["properties"].items() if other["properties"].get(field) == one]
        for name, other in told.items()
    }
    name = max(shared, key=lambda one: len(shared[one]), default="")
    return (name, shared[name]) if name and len(shared[name]) >= FOLDED else ("", [])


def _fields(schema: Schema, without: list[str] | None = None) -> str:
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", type_of(one), default_of(one, is_required=name in required), meaning_of(one))
        for name, one in sorted(schema["properties"].items(), key=lambda field: field[0] not in required)
        if name not in (without or ())
    ]
    return table(("field", "type", "default", ""), rows)


def _refers_to(response: Schema) -> str:
    return name_of(response.get("content", {}).get("application/json", {}).get("schema", {}))


def _named_in(text: str) -> list[str]:
    """Schemas that are linked to, each once."""
    links = re.findall(r"\[(\w+)\]\(#(\w+)\)", text)
    return list(dict.fromkeys(name for name, anchor in links if name.lower() == anchor))


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", flat(text))[0]


def _anchor(title: str) -> str:
    """Where GitHub puts a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def page_of_the_service() -> str:
    """The reference of this release, with the adapters."""
    return make_page(create_app(Settings(engine="dummy", a1111=True)).openapi())


if __name__ == "__main__":
    PAGE.write_text(page_of_the_service(), encoding="utf-8")
    print(f"wrote {PAGE}")
