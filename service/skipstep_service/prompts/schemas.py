"""JSON schemas of clients, from which an engine makes a grammar: small ones of plain keywords."""

from __future__ import annotations

import json
from typing import Any

MAX_BYTES, MAX_DEPTH, MAX_COUNT = 8192, 6, 1000
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_WORDS = ("title", "description", "default", "strict", "$schema")  # have no effect
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_NUMBERS = ("minimum", "maximum")
_KNOWN = ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf")


def check_schema(schema: Any) -> None:
    """See that a schema is small, and has nothing that could keep a grammar's maker busy: no patterns, no references.

    Raises:
        ValueError: says what is wrong, and what is allowed.
    """
    if len(json.dumps(schema)) > MAX_BYTES:
        raise ValueError(f"the schema has more than {MAX_BYTES} bytes; make it smaller")
    _check(schema, "schema", depth=0)


def _check(schema: Any, where: str, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"the schema is nested more than {MAX_DEPTH} deep; make it flatter")
    if not isinstance(schema, dict):
        raise ValueError(f"{where} must be an object")
    known = (*_KNOWN, *_COUNTS, *_NUMBERS, *_WORDS)
    unknown = next((key for key in schema if key not in known), None)
    if unknown is not None:
        raise ValueError(f"{where} has a keyword that is not known here; it may have {', '.join(known)}")
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    if not all(isinstance(one, str) and one in _TYPES for one in types):
        raise ValueError(f"type of {where} must be among {', '.join(_TYPES)}")
    _check_values(schema, where)
    for name, inner in _inner(schema, where):
        _check(inner, name, depth=depth + 1)


def _check_values(schema: dict[str, Any], where: str) -> None:
    for key in _COUNTS:
        count = schema.get(key, 0)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_COUNT:
            raise ValueError(f"{key} of {where} must be 0..{MAX_COUNT}")
    for key in _NUMBERS:
        if isinstance(schema.get(key, 0), bool) or not isinstance(schema.get(key, 0), (int, float)):
            raise ValueError(f"{key} of {where} must be a number")
    for key in ("required", "enum", "anyOf"):
        if key in schema and (not isinstance(schema[key], list) or (not schema[key] and key != "required")):
            raise ValueError(f"{key} of {where} must be a list that is not empty")
    if not all(isinstance(name, str) for name in schema.get("required", [])):
        raise ValueError(f"required of {where} must have names")


def _inner(schema: dict[str, Any], where: str) -> list[tuple[str, Any]]:
    """The schemas inside, and what to call them."""
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise ValueError(f"properties of {where} must be an object")
    found = [("a property", inner) for inner in properties.values()]
    found += [("anyOf", inner) for inner in schema.get("anyOf", [])]
    found += [("items", schema["items"])] if "items" in schema else []
    more = schema.get("additionalProperties", True)
    return found if isinstance(more, bool) else [*found, ("additionalProperties", more)]
