"""Names of jobs: sorted by time, and not to be guessed."""

from __future__ import annotations

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, as ULIDs have it
FORM = r"^job_[0-9a-hjkmnp-tv-z]{26}$"
_FORM = re.compile(FORM.strip("^$"))


def new_job_id(now: float | None = None) -> str:
    """48 bits of milliseconds and 80 random bits, as a ULID (github.com/ulid/spec) in small letters."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    number = milliseconds << 80 | secrets.randbits(80)
    return "job_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_job_id(text: str) -> bool:
    """Whether it has the form of such a name; anything else is no job, and no file."""
    return _FORM.fullmatch(text) is not None
