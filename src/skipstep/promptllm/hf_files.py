"""What a transformers folder says of its tokenizer and chats, read without loading either."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import ModelLoadError
from .file_stamp import file_stamp

MAX_BYTES = 64 * 2**20


def chat_source(folder: Path) -> str:
    """The model's own chat template as text, which is only looked at; empty if it has none.

    Raises:
        ModelLoadError: if a file is damaged.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return _read(file).decode("utf-8", "replace")
    return str(_parsed(folder / "tokenizer_config.json").get("chat_template") or "")


def special_tokens(folder: Path) -> frozenset[str]:
    """The texts that the tokenizer reads as tokens of their own.

    Raises:
        ModelLoadError: if a file is damaged.
    """
    found = [token.get("content") for token in _dicts(_parsed(folder / "tokenizer.json").get("added_tokens"))]
    named = _parsed(folder / "special_tokens_map.json").values()
    found += [token.get("content") if isinstance(token, dict) else token for token in named]
    return frozenset(token for token in found if isinstance(token, str) and token.strip())


def folder_stamp(folder: Path) -> str:
    """A hash of the weights, the config and the tokenizer, as far as `file_stamp` reads them.

    Raises:
        ModelLoadError: if one cannot be read.
    """
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in ("config.json", "tokenizer.json"))]
    stamps = [file_stamp(file) for file in files if file.is_file()]
    return hashlib.sha256(" ".join(stamps).encode()).hexdigest()


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _parsed(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{file} is no JSON file: {error}; get the model anew") from error
    if not isinstance(found, dict):
        raise ModelLoadError(f"{file} must hold a JSON object, got a {type(found).__name__}; get the model anew")
    return found


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelLoadError(f"cannot read {file}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ModelLoadError(f"{file} must have {MAX_BYTES} bytes at most; it is no tokenizer's")
    return data
