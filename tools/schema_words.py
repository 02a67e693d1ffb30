"""JSON schemas in words, as cells of Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Schema = dict[str, Any]


def type_of(schema: Schema) -> str:
    """What a value may be; schemas of `components` are links."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(type_of(one) for one in choices if one.get("type") != "null")
    if "$ref" in schema:
        name = name_of(schema)
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        most = f"up to {schema['maxItems']} of " if "maxItems" in schema else "list of "
        return most + type_of(schema["items"])
    words = {"string": _text(schema), "boolean": "true or false"}
    return ", ".join([words.get(kind, kind), *_limits(schema)])


def name_of(schema: Schema) -> str:
    """The schema of `components` that it refers to; empty if it does not."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def default_of(schema: Schema, *, is_required: bool) -> str:
    """What holds where it is left out."""
    value = schema.get("default")
    if is_required or value in (None, {}, []):
        return "required" if is_required else ""
    return f"`{json.dumps(value)}`"


def meaning_of(schema: Schema) -> str:
    """Its description, and those of its choices."""
    parts = [schema.get("description", ""), *(one.get("description", "") for one in schema.get("anyOf", ()))]
    return " ".join(flat(part) for part in parts if part)


def flat(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    cells = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _text(schema: Schema) -> str:
    return {"date-time": "date and time", "uri": "URL", "binary": "file"}.get(schema.get("format", ""), "text")


def _limits(schema: Schema) -> Iterator[str]:
    yield from _range(schema.get("minimum"), schema.get("maximum"), "")
    yield from _range(schema.get("minLength"), schema.get("maxLength"), " characters")
    if "exclusiveMinimum" in schema:
        yield f"more than {_number(schema['exclusiveMinimum'])}"
    if "multipleOf" in schema:
        yield f"a multiple of {_number(schema['multipleOf'])}"
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"


def _range(low: float | None, high: float | None, unit: str) -> Iterator[str]:
    if low is not None and high is not None:
        yield f"{_number(low)} to {_number(high)}{unit}"
    elif low is not None:
        yield f"at least {_number(low)}{unit}"
    elif high is not None:
        yield f"up to {_number(high)}{unit}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"
