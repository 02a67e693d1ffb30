"""Errors that routes may answer, as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from ..answers import ErrorEnvelope

_MEANINGS = {
    400: "The body cannot be read.",
    401: "No key, or one that is not known. A server without keys never answers so.",
    403: "The key lacks the scope.",
    404: "There is no such thing, or it is another key's.",
    408: "The body came too slowly.",
    409: "The job has not ended.",
    413: "The body is too large.",
    422: "A value is out of range or contradicts another; `details` has the fields.",
    429: "The queue is full.",
    502: "The prompt model gives no answer.",
    503: "The server is ending, or its store does not answer.",
    507: "The disk is full.",
}
_AGAIN = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds until it is worth it."}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "Bearer."}},
    429: _AGAIN,
    503: _AGAIN,
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers these with the envelope."""
    return {status: _refusal(status) for status in statuses}


def refusals_of_stream(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route whose success is a stream, to whose media type FastAPI would count them."""
    form = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorEnvelope.__name__}"}}}
    return {
        status: {**{name: value for name, value in told.items() if name != "model"}, "content": form}
        for status, told in refusals(*statuses).items()
    }


def _refusal(status: int) -> dict[str, Any]:
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"model": ErrorEnvelope, "description": _MEANINGS[status], **headers}
