"""Errors as the envelope; nothing of a request is repeated in them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from .errors import ApiError, InvalidRequestError, StoreDownError
from .store.probe import STORE_DOWN

log = structlog.get_logger()
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
}


def add_handlers(app: FastAPI) -> None:
    """Have all errors answered in one form."""
    app.add_exception_handler(ApiError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    for error in STORE_DOWN:
        app.add_exception_handler(error, _of_store)
    app.add_exception_handler(Exception, _unforeseen)


def headers_of(error: ApiError) -> dict[str, str]:
    """Those of the answer."""
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def envelope(error: ApiError) -> JSONResponse:
    """The answer."""
    return JSONResponse(body_of(error), status_code=error.status, headers=headers_of(error))


def body_of(error: ApiError) -> dict[str, Any]:
    """The error in the envelope."""
    return {"error": {"code": error.code, "message": error.message, "details": error.details}}


async def _of_ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return envelope(error)


def invalid(error: RequestValidationError) -> InvalidRequestError:
    """What pydantic found, without what was sent."""
    found = [{"where": _where(one["loc"]), "problem": _plain(one["msg"])} for one in error.errors()[:20]]
    first = found[0]
    return InvalidRequestError(f"{first['where']}: {first['problem']}", details={"problems": found})


class TranslatingRoute(APIRoute):
    """A route whose errors have another API's shape, which `translate` gives them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, with its errors answered."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except ApiError as error:
                return self.translate(error)
            except RequestValidationError as error:
                return self.translate(invalid(error))
            except HTTPException as error:
                return self.translate(HttpError(error))
            except STORE_DOWN as error:
                return self.translate(_store_down(request, error))

        return answer

    def translate(self, error: ApiError) -> JSONResponse:
        """The answer."""
        return envelope(error)


async def _of_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return envelope(invalid(error))


class HttpError(ApiError):
    """An error of the framework."""

    def __init__(self, error: HTTPException) -> None:
        super().__init__(str(error.detail))
        self.status, self.code = error.status_code, _CODES.get(error.status_code, "http_error")
        self.headers = dict(error.headers or {})


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    shown = HttpError(error)
    if shown.status == 405:
        shown.headers = {"Allow": ", ".join(methods_at(request)) or "GET, HEAD"}  # the page's files are no routes
    return envelope(shown)


def methods_at(request: Request) -> list[str]:
    """All methods for the path of a request; the framework names those of one route only.

    Where the API has that very path, others do not count whose parameters it would fit.
    """
    path = request.scope["path"]
    asked = {"type": "http", "path": path, "root_path": "", "headers": []}
    own = request.app.openapi()["paths"].get(path)

    def is_met(method: str) -> bool:
        if own is not None:
            return method.lower() in own
        return any(route.matches({**asked, "method": method})[0] is Match.FULL for route in request.app.routes)

    return [method for method in _METHODS if is_met(method)]


async def _of_store(request: Request, error: Exception) -> JSONResponse:
    return envelope(_store_down(request, error))


def _store_down(request: Request, error: Exception) -> StoreDownError:
    log.warning("the store failed", method=request.method, path=request.url.path, error=str(error))
    return StoreDownError("the store of jobs does not answer; try again", retry_after_s=2)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", method=request.method, path=request.url.path, exc_info=error)
    return envelope(ApiError("the server failed; its log has more"))


def _where(place: tuple[Any, ...]) -> str:
    """The field, without what a client made up."""
    known = [str(part) for part in place[1:] if isinstance(part, int) or str(part).isidentifier()]
    return ".".join(known)[:100] or str(place[0] if place else "body")


def _plain(message: str) -> str:
    return message.encode("ascii", "replace").decode()[:300]
