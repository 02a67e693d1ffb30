"""Webhooks as the settings have them: which are accepted, and who sends them."""

from __future__ import annotations

from ..errors import InvalidRequestError
from ..settings import Settings
from ..store.job_store import JobStore
from .deliverer import Deliverer
from .events import event_of, message_id
from .sending import Sender
from .signing import Signer
from .targets import refusal


def check_webhook(url: str, settings: Settings) -> None:
    """Refuse what could never be sent.

    Raises:
        InvalidRequestError: if webhooks are off, or the URL is of a host that may not be reached.
    """
    if settings.webhook_secret is None:
        raise InvalidRequestError("this server sends no webhooks; its operator can set SKIPSTEP_WEBHOOK_SECRET")
    problem = refusal(url, settings.webhook_allow)
    if problem is not None:
        raise InvalidRequestError(f"webhook.url: {problem}")


def deliverer_of(settings: Settings, store: JobStore) -> Deliverer | None:
    """Who sends them; nobody if they are off."""
    if settings.webhook_secret is None:
        return None
    signer = Signer(settings.webhook_secret.get_secret_value())
    sender = Sender(signer, allowed=settings.webhook_allow, timeout_s=settings.webhook_timeout_s)
    return Deliverer(
        store, sender, lambda row: (message_id(row), event_of(row).model_dump_json()), settings.webhook_retries_s
    )
