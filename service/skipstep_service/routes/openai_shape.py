"""Errors of the OpenAI routes as OpenAI has them: {"error": {"message", "type", "code", "param"}}."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ..errors import ApiError, JobEndedError, PromptFailedError
from ..handlers import TranslatingRoute, headers_of

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAIProblem(BaseModel):
    """What went wrong; `param` is the field."""

    message: str
    type: str
    code: str
    param: str | None = None


class OpenAIError(BaseModel):
    """Every answer of these routes that is not a success."""

    error: OpenAIProblem


class OpenAIRoute(TranslatingRoute):
    """A route whose errors have OpenAI's shape."""

    def translate(self, error: ApiError) -> JSONResponse:
        """The answer."""
        headers = headers_of(error)
        if isinstance(error, (JobEndedError, PromptFailedError)) or error.status == 409:
            headers["x-should-retry"] = "false"  # OpenAI's clients would ask for the same again
        return JSONResponse(error_body(error), status_code=_status(error), headers=headers)


def error_body(error: ApiError) -> dict[str, Any]:
    """The error as OpenAI tells it, in an answer or in a stream."""
    problems = error.details.get("problems") or [{}]
    param = error.details.get("param") or problems[0].get("where")
    return _body(error.message, code=error.code, status=_status(error), param=param)


def _status(error: ApiError) -> int:
    return 400 if error.status == 422 else error.status


def _body(message: str, *, code: str, status: int, param: str | None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return OpenAIError(error=OpenAIProblem(message=message, type=kind, code=code, param=param)).model_dump()
