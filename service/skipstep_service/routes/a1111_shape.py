"""Errors of /sdapi/v1 as AUTOMATIC1111's web UI has them: {"error", "detail", "body", "errors"}."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from ..errors import ApiError
from ..handlers import headers_of, invalid


class WebUIError(BaseModel):
    """Every answer of these routes that is not a success."""

    error: str
    detail: str
    body: str = ""
    errors: str


class WebUIRoute(APIRoute):
    """A route whose errors have the web UI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, with its errors answered."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except ApiError as error:
                return _answer(error)
            except RequestValidationError as error:
                return _answer(invalid(error))

        return answer


def _answer(error: ApiError) -> JSONResponse:
    headers = headers_of(error)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="skipstep"'
    body = WebUIError(error=error.code, detail=error.message, errors=error.message)
    return JSONResponse(body.model_dump(), status_code=error.status, headers=headers)
