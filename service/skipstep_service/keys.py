"""Who asks: API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from .errors import ForbiddenError, UnauthorizedError
from .settings import ApiKey, Scope

_bearer = HTTPBearer(auto_error=False, description="A key of this server; none is needed where it has none.")
_basic = HTTPBasic(auto_error=False, description="The name of a key and its text.")
NOBODY = ""  # owns the jobs of a server without keys


def find_key(keys: tuple[ApiKey, ...], text: str) -> ApiKey | None:
    """The key with this text; every key is compared, whichever it is."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    return found[0] if found else None


def needs(scope: Scope) -> Callable[..., Coroutine[None, None, str]]:
    """A dependency: the name of the key of a request, which must have the scope."""

    async def owner(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
    ) -> str:
        keys = request.app.state.settings.api_keys
        if not keys:
            return NOBODY
        if given is None:
            raise UnauthorizedError("send a key as `Authorization: Bearer KEY`")
        return _name_of(find_key(keys, given.credentials), scope)

    return owner


def needs_either(scope: Scope) -> Callable[..., Coroutine[None, None, str]]:
    """The same for clients that can send a user and a password only: the key's name and its text."""

    async def owner(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
        basic: Annotated[HTTPBasicCredentials | None, Security(_basic)] = None,
    ) -> str:
        keys = request.app.state.settings.api_keys
        if not keys:
            return NOBODY
        if bearer is not None:
            return _name_of(find_key(keys, bearer.credentials), scope)
        if basic is None:
            raise UnauthorizedError(
                "send a key as `Authorization: Bearer KEY`, or its name and text as user and password"
            )
        key = find_key(keys, basic.password)
        return _name_of(key if key is not None and key.name == basic.username else None, scope)

    return owner


def _name_of(key: ApiKey | None, scope: Scope) -> str:
    if key is None:
        raise UnauthorizedError("the key is not known")
    if scope not in key.scopes:
        raise ForbiddenError(f"the key {key.name} lacks the scope {scope}")
    return key.name


Owner = Annotated[str, Depends(needs("jobs"))]
