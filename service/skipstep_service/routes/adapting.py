"""From the requests of other APIs to jobs: what they have in common."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from ..errors import InvalidRequestError, UnknownModelError

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], fields: dict[str, Any]) -> Model:
    """The fields as a body of ours.

    Raises:
        RequestValidationError: as if they had come that way.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise in_body(error) from error


def in_body(error: ValidationError) -> RequestValidationError:
    """The same error, of a request's body."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])


def refused(param: str, message: str) -> InvalidRequestError:
    """A value that cannot be honoured."""
    return InvalidRequestError(message, details={"param": param})


def model_of(request: Request, kind: str, name: str | None) -> str | None:
    """The model that was asked for; None, "" and "auto" leave it to the server.

    Raises:
        UnknownModelError: if there is none of that name, with those that are.
    """
    if name in (None, "", "auto"):
        return None
    known = request.app.state.catalog.names(kind)
    if name not in known:
        listed = ", ".join(known) or "none: this server has no such models"
        raise UnknownModelError(
            f"this server does not have that model; its models for {kind}s are {listed}", details={"param": "model"}
        )
    return name


def sides_of(size: str | None) -> dict[str, int]:
    """Width and height of "WxH"; nothing for "auto".

    Raises:
        InvalidRequestError: if it is neither.
    """
    if size in (None, "", "auto"):
        return {}
    match = _SIZE.fullmatch(size or "")
    if match is None:
        raise refused("size", "size must be WIDTHxHEIGHT in pixels, as 1024x1024, or auto")
    width, height = (int(side) for side in match.groups())
    if width % 8 or height % 8:
        near = "x".join(str(max(32, round(side / 8) * 8)) for side in (width, height))
        raise refused("size", f"size must be of multiples of 8 pixels, got {width}x{height}; use {near}")
    return {"width": width, "height": height}


def given(body: BaseModel, *names: str) -> dict[str, Any]:
    """The named fields that were sent; the others keep the defaults of the job."""
    return body.model_dump(include=set(names), exclude_none=True)
