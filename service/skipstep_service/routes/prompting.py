"""The prompt model in requests: found, asked, and left when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request

from skipstep.errors import AdapterError, OptionError, SkipstepError
from skipstep.promptllm import ExpandRequest

from ..errors import ApiError, ClientLeftError, DrainingError, InvalidRequestError, NotFoundError, PromptFailedError
from ..jobs.bodies import Expand
from ..prompts.line import StoppedError, Turn
from ..prompts.prompting import Prompting
from .leaving import left

T = TypeVar("T")
NONE = "this server has no prompt model; its operator sets SKIPSTEP_PROMPT_ENGINE"


def prompting_of(request: Request) -> Prompting:
    """The prompt model of the app.

    Raises:
        NotFoundError: if it has none.
    """
    found: Prompting | None = request.app.state.prompting
    if found is None:
        raise NotFoundError(NONE)
    return found


def check_expand(request: Request, prompt: str, expand: Expand) -> None:
    """See that the prompt of a job can be expanded as it is asked for.

    Raises:
        OptionError: if not.
    """
    if request.app.state.prompting is None:
        raise OptionError(f"expand cannot be done: {NONE}")
    prompting_of(request).request_of(prompt, expand.model_dump())


def asked_of(prompting: Prompting, prompt: str, asked: dict[str, Any]) -> ExpandRequest:
    """What a body asks for.

    Raises:
        InvalidRequestError: if a value is out of range, or there is no such preset or adapter.
    """
    with refusing():
        return prompting.request_of(prompt, asked)


@contextmanager
def refusing() -> Iterator[None]:
    """Errors of the prompt model as answers."""
    try:
        yield
    except (ApiError, asyncio.CancelledError):
        raise
    except StoppedError as error:
        raise DrainingError("the server is ending; try again in a moment", retry_after_s=10) from error
    except (OptionError, AdapterError) as error:
        raise InvalidRequestError(str(error)) from error
    except SkipstepError as error:
        raise PromptFailedError(str(error)) from error


async def made_in(request: Request, turn: Turn[T]) -> T:
    """What a turn gives.

    Raises:
        ClientLeftError: if the client left, which ends the turn.
        InvalidRequestError, PromptFailedError, DrainingError: if it gives nothing.
    """
    answered = asyncio.wrap_future(turn.future)
    gone = asyncio.ensure_future(left(request))
    try:
        await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ClientLeftError("the client left")
        with refusing():
            return answered.result()
    finally:
        turn.leave()
        answered.cancel()
        gone.cancel()
