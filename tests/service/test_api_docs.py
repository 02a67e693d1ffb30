"""docs/api.md: of this release, whole, and with links that lead somewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from make_api_docs import PAGE, make_page, page_of_the_service
from schema_words import type_of
from skipstep_service.app import create_app
from skipstep_service.serve import openapi
from skipstep_service.settings import Settings


def test_the_page_is_up_to_date() -> None:
    is_same = PAGE.read_text(encoding="utf-8") == page_of_the_service()
    assert is_same, "docs/api.md is out of date; run: python tools/make_api_docs.py"


def test_the_page_has_every_route_and_its_links_lead_somewhere() -> None:
    page = page_of_the_service()
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    for path, methods in create_app(Settings(engine="dummy", a1111=True)).openapi()["paths"].items():
        for method in methods:
            assert headings.count(f"`{method.upper()} {path}`") == 1
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert "imagejob" in links
    assert links <= anchors
    for file in set(re.findall(r"\]\(([^)#]+)\)", page)):
        assert (PAGE.parent / file).exists(), file


def test_fields_of_jobs_are_described() -> None:
    schemas = create_app(Settings(engine="dummy")).openapi()["components"]["schemas"]
    for name in ("ImageJob", "VideoJob", "Acceleration", "CacheOptions", "Lora", "JobAnswer", "OutputAnswer"):
        bare = [field for field, one in schemas[name]["properties"].items() if not one.get("description")]
        assert not bare, name


def test_limits_are_json_schema_s_own() -> None:
    for name, schema in create_app(Settings(engine="dummy", a1111=True)).openapi()["components"]["schemas"].items():
        for field, one in schema["properties"].items():
            for choice in (one, *one.get("anyOf", ())):
                assert not {"ge", "gt", "le", "lt", "multiple_of"} & set(choice), (name, field)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 4294967295.0}, "integer, 0 to 4294967295"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "number, up to 0.5, more than 0"),
        ({"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]}, "text, up to 9 characters"),
        ({"type": "array", "maxItems": 4, "items": {"$ref": "#/x/Lora"}}, "up to 4 of [Lora](#lora)"),
        ({"enum": ["a", "b"]}, "`a`, `b`"),
        ({"const": "image", "type": "string"}, "`image`"),
        ({"type": "integer", "multipleOf": 8, "minimum": 32}, "integer, at least 32, a multiple of 8"),
        ({"type": "string", "format": "date-time"}, "date and time"),
        ({}, "any"),
    ],
)
def test_types_in_words(schema: dict[str, Any], words: str) -> None:
    assert type_of(schema) == words


def test_errors_are_declared_as_they_are() -> None:
    """No answer is FastAPI's own form of a 422, which the service never gives."""
    schema = create_app(Settings(engine="dummy", a1111=True)).openapi()
    declared = str(schema["paths"])
    assert "HTTPValidationError" not in declared
    events = schema["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]
    assert set(events["404"]["content"]) == {"application/json"}
    del schema["paths"]["/v1/jobs"]["post"]["responses"]["507"]
    assert "| 507 |" not in make_page(schema)


def test_the_schema_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = openapi()
    monkeypatch.setenv("SKIPSTEP_HOST", "0.0.0.0")  # which needs a key where a server starts
    assert openapi() == expected
