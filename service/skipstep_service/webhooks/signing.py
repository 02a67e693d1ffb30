"""Signatures as standardwebhooks.com has them, and the secret that they need."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from standardwebhooks import Webhook

_PREFIX = "whsec_"
_BYTES = (24, 64)  # of a secret, as the specification has it


class Signer:
    """Signs with one secret, or with several that spaces separate, while receivers go from one to the next."""

    def __init__(self, secrets: str) -> None:
        self._keys = [Webhook(secret) for secret in secrets.split()]

    def headers(self, message_id: str, body: str, *, now: datetime) -> dict[str, str]:
        """Those that receivers verify; `now` has a time zone."""
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(key.sign(message_id, now, body) for key in self._keys),
        }


def check_secret(secrets: str) -> None:
    """Refuse what is no secret, or a weak one.

    Raises:
        ValueError: without the secret in its message.
    """
    if not secrets.split() or not all(map(_is_secret, secrets.split())):
        raise ValueError(
            f"must be {_PREFIX} and {_BYTES[0]} to {_BYTES[1]} random bytes in base64, "
            f'as `echo "{_PREFIX}$(openssl rand -base64 32)"` prints'
        )


def _is_secret(secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return secret.startswith(_PREFIX) and _BYTES[0] <= len(key) <= _BYTES[1]
