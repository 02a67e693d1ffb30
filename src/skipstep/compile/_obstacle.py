"""Why a call runs eagerly although there is a compiler."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What no graph can serve, and why, in words that go into one sentence."""

    what: str  # "calls with ..."
    reason: str
