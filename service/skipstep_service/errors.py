"""What the service answers when it does not do what it is asked for.

* ApiError                     any of these; has a code, a status and details for programs
  + InvalidRequestError 422    a value that is out of range or contradicts another
    - UnknownModelError 422    a model that the server does not have
  + UnauthorizedError   401    no key, or one that is not known
  + ForbiddenError      403    a key without the scope
  + NotFoundError       404    no such job, output or model, or not of this key
  + ConflictError       409    the job is not in a state for that
  + KeyReusedError      422    an Idempotency-Key that came with another body
  + BusyError           429    the queue is full; says when to try again
  + DrainingError       503    the server is ending; says when to try again
  + StoreDownError      503    the database does not answer; says when to try again
  + NoSpaceError        507    the disk is full
  + PromptFailedError   502    the prompt model gives no answer
  + JobEndedError       500    the job that a request waited for gave nothing; 504 if it was late, 409 if canceled
  + ClientLeftError     499    nobody is there to be answered
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An answer in the error envelope: `{"error": {"code", "message", "details"}}`."""

    status = 500
    code = "internal"
    headers: Mapping[str, str] = {}

    def __init__(
        self, message: str, *, details: dict[str, Any] | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = {} if details is None else details
        self.retry_after_s = retry_after_s


class InvalidRequestError(ApiError):
    """A value is out of range or contradicts another."""

    status, code = 422, "invalid_request"


class UnknownModelError(InvalidRequestError):
    """The server has no model of that name for such jobs."""

    code = "model_not_found"


class UnauthorizedError(ApiError):
    """No key, or one that is not known."""

    status, code = 401, "unauthorized"


class ForbiddenError(ApiError):
    """The key lacks the scope."""

    status, code = 403, "forbidden"


class NotFoundError(ApiError):
    """There is no such thing, or it belongs to another key."""

    status, code = 404, "not_found"


class ConflictError(ApiError):
    """The job is not in a state for that."""

    status, code = 409, "conflict"


class KeyReusedError(ApiError):
    """The Idempotency-Key came with another body before."""

    status, code = 422, "idempotency_key_reused"


class BusyError(ApiError):
    """The queue is full."""

    status, code = 429, "busy"


class DrainingError(ApiError):
    """The server is ending."""

    status, code = 503, "draining"


class StoreDownError(ApiError):
    """The database does not answer."""

    status, code = 503, "store_down"


class NoSpaceError(ApiError):
    """What is accepted could not be kept."""

    status, code = 507, "no_space"


class PromptFailedError(ApiError):
    """The prompt model gives no answer."""

    status, code = 502, "prompt_failed"


class JobEndedError(ApiError):
    """The job that a request waited for ended without a result; its code and message are the job's."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class ClientLeftError(ApiError):
    """The client closed the connection; this is written into a log at most."""

    status, code = 499, "client_left"
