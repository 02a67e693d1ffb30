"""Replicas on all nodes must have the same settings, store and files; they compare hashes: no secret travels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from skipstep.errors import OptionError

from ..settings import Settings

_OWN = ("host", "port", "server_id")  # of each process


def prints_of(settings: Settings) -> dict[str, str]:
    """A hash of each setting."""
    plain = {name: getattr(settings, name) for name in type(settings).model_fields if name not in _OWN}
    if settings.webhook_secret is not None:
        plain["webhook_secret"] = settings.webhook_secret.get_secret_value()
    return {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in plain.items()}


def check_same(settings: Settings, expected: Mapping[str, str]) -> None:
    """See that this process has the settings that the deployment was made with.

    Raises:
        OptionError: naming those that differ.
    """
    differing = [name for name, own in prints_of(settings).items() if expected.get(name) != own]
    if differing:
        named = ", ".join(f"SKIPSTEP_{name.upper()}" for name in differing)
        raise OptionError(f"{named} differ on this node; give every Ray node the same SKIPSTEP_... variables")


def check_shareable(settings: Settings) -> None:
    """See that replicas on several nodes can have these settings.

    Raises:
        OptionError: if not.
    """
    if not settings.store.startswith("postgresql"):
        raise OptionError(f"on Ray the store must be postgresql://USER@HOST/DB, got {settings.store.split(':')[0]}:")
    if "://" not in settings.results and not Path(settings.results).is_absolute():
        raise OptionError(
            f"on Ray results must be an fsspec URL or an absolute path that all nodes have, got {settings.results!r}"
        )
