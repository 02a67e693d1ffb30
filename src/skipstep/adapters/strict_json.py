"""JSON from strangers: UTF-8 only, each key once, finite numbers, bounded depth."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from ..errors import AdapterError

_MAX_DIGITS = 20


def parse_object(raw: bytes, name: str) -> dict[str, Any]:
    """The JSON object in `raw`; `name` is that of the file or field, for messages.

    Raises:
        AdapterError: if it is no UTF-8, no JSON or no object, or has a key twice, NaN, Infinity or deep nesting.
    """
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise AdapterError(f"{name}: begins with a byte order mark; save it as plain UTF-8")
    try:
        parsed = _decoder(name).decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise AdapterError(f"{name}: is not UTF-8 at byte {error.start}; save it as plain UTF-8") from error
    except RecursionError as error:
        raise AdapterError(f"{name}: is nested too deeply to be read; write it anew") from error
    except json.JSONDecodeError as error:
        raise AdapterError(f"{name}: is no JSON at line {error.lineno}: {error.msg}; write it anew") from error
    if not isinstance(parsed, dict):
        raise AdapterError(f"{name}: must be a JSON object, got {type(parsed).__name__}")
    return parsed


def _decoder(name: str) -> json.JSONDecoder:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise AdapterError(f"{key[:80]}: is in {name} twice; keep one")
            found[key] = value
        return found

    def whole(text: str) -> int:
        if len(text) > _MAX_DIGITS:
            raise AdapterError(f"{name}: has a number of {len(text)} digits; at most {_MAX_DIGITS} are read")
        return int(text)

    def real(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise AdapterError(f"{name}: has the number {text[:40]}, which is not finite")
        return value

    def constant(text: str) -> NoReturn:
        raise AdapterError(f"{name}: has the number {text}, which is not finite")

    return json.JSONDecoder(object_pairs_hook=unique, parse_int=whole, parse_float=real, parse_constant=constant)
