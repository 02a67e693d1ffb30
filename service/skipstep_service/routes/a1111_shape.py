"""Errors of /sdapi/v1 as AUTOMATIC1111's web UI has them: {"error", "detail", "body", "errors"}."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ..errors import ApiError
from ..handlers import TranslatingRoute, headers_of


class WebUIError(BaseModel):
    """Every answer of these routes that is not a success."""

    error: str
    detail: str
    body: str = ""
    errors: str


class WebUIRoute(TranslatingRoute):
    """A route whose errors have the web UI's shape."""

    def translate(self, error: ApiError) -> JSONResponse:
        """The answer."""
        headers = headers_of(error)
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="skipstep"'
        body = WebUIError(error=error.code, detail=error.message, errors=error.message)
        return JSONResponse(body.model_dump(), status_code=error.status, headers=headers)
