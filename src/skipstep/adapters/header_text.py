"""The JSON of a safetensors header, walked entry by entry.

A bomb stops at its first wrong entry, and nothing is nested deeper than the format allows.
"""

from __future__ import annotations

import json
import re

from ..errors import AdapterError

MAX_METADATA = 1000
_GAP = re.compile(r"[ \t\r\n]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_MORE = re.compile(r"[ \t\r\n]*([,}])")
_ENTRY = re.compile(r"\{[^{}]{0,400}\}")
_STRINGS = json.JSONDecoder()


def walk(text: str, most: int) -> tuple[dict[str, str], dict[str, str]]:
    """The entries of a header of at most `most` tensors, each a JSON that is still text, and the metadata.

    Raises:
        AdapterError: at the first place where it is not made as safetensors has it.
        JSONDecodeError: if a string is no JSON.
    """
    entries: dict[str, str] = {}
    metadata: dict[str, str] | None = None
    at = _opened(text, 0)
    while True:
        name, at = _string(text, at)
        at = _after(_COLON, text, at)
        if name in entries or (name == "__metadata__" and metadata is not None):
            raise AdapterError(f"{name[:80]} is in the header twice")
        if name == "__metadata__":
            metadata, at = _flat(text, at)
        else:
            entry = _ENTRY.match(text, at)
            if entry is None:
                raise AdapterError(f"the entry of {name[:80]} in the header is not made as safetensors has it")
            entries[name], at = entry[0], entry.end()
        if len(entries) > most:
            raise AdapterError(f"has more than {most} tensors, which is the limit")
        more = _MORE.match(text, at)
        if more is None:
            raise AdapterError(f"the header is damaged at its character {at}")
        at = more.end()
        if more[1] == "}":
            break
    if _after(_GAP, text, at) != len(text):
        raise AdapterError("the header goes on after its end")
    return entries, metadata or {}


def _flat(text: str, at: int) -> tuple[dict[str, str], int]:
    """An object of strings, and where it ends."""
    found: dict[str, str] = {}
    at = _opened(text, at)
    first = _after(_GAP, text, at)
    if text.startswith("}", first):
        return found, first + 1
    while len(found) < MAX_METADATA:
        key, at = _string(text, at)
        if key in found:
            raise AdapterError(f"{key[:80]} is in __metadata__ twice")
        found[key], at = _string(text, _after(_COLON, text, at))
        more = _MORE.match(text, at)
        if more is None:
            raise AdapterError("__metadata__ is no object of strings")
        at = more.end()
        if more[1] == "}":
            return found, at
    raise AdapterError(f"__metadata__ has more than {MAX_METADATA} entries, which is the limit")


def _opened(text: str, at: int) -> int:
    at = _after(_GAP, text, at)
    if not text.startswith("{", at):
        raise AdapterError(f"the header has no object at its character {at}")
    return at + 1


def _string(text: str, at: int) -> tuple[str, int]:
    at = _after(_GAP, text, at)
    if not text.startswith('"', at):
        raise AdapterError(f"the header has no string at its character {at}")
    value, end = _STRINGS.raw_decode(text, at)
    return str(value), end


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise AdapterError(f"the header is damaged at its character {at}")
    return found.end()
