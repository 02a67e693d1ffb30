"""What a GGUF file says of its model, read without loading it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ModelLoadError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS, MAX_TEXT, MAX_ITEMS = 4096, 2**20, 2**20
MAX_TENSORS, MAX_DIMENSIONS = 2**16, 4
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9
CONTROL, USER_DEFINED = 3, 4  # of llama.cpp's token types


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """`chat_template` is the model's own, as text; `special_tokens` are what its tokenizer reads as control tokens.

    `numbers` are the whole numbers among the keys, `shapes` those of the tensors, the inputs of a matrix first.
    """

    architecture: str
    numbers: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    chat_template: str
    special_tokens: frozenset[str]
    bos: str
    adds_bos: bool


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file.

    Raises:
        ModelLoadError: if there is no such file, or it is none; nothing of it is run.
    """
    try:
        with path.open("rb") as file:
            values, shapes = _contents(file)
    except OSError as error:
        raise ModelLoadError(
            f"cannot read the model {path}: {error.strerror or error}; `skipstep prompt fetch` gets one"
        ) from error
    except (struct.error, ValueError, KeyError) as error:
        raise ModelLoadError(
            f"{path} is not a whole GGUF file: {error}; give a file that llama.cpp can read"
        ) from error
    return _header(values, shapes)


def _header(values: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> GgufHeader:
    tokens = _list(values, "tokenizer.ggml.tokens")
    kinds = _list(values, "tokenizer.ggml.token_type")
    special = {
        token for token, kind in zip(tokens, kinds, strict=False) if kind in (CONTROL, USER_DEFINED) and token.strip()
    }
    first = values.get("tokenizer.ggml.bos_token_id", -1)
    return GgufHeader(
        architecture=str(values.get("general.architecture", "")),
        numbers={key: value for key, value in values.items() if type(value) is int},
        shapes=shapes,
        chat_template=str(values.get("tokenizer.chat_template", "")),
        special_tokens=frozenset(special),
        bos=str(tokens[first]) if isinstance(first, int) and 0 <= first < len(tokens) else "",
        adds_bos=values.get("tokenizer.ggml.add_bos_token") is True,
    )


def _list(values: dict[str, Any], key: str) -> list[Any]:
    found = values.get(key, [])
    return found if isinstance(found, list) else []


def _contents(file: BinaryIO) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    if file.read(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version, tensors, keys = _unpack(file, "<IQQ")
    if version not in VERSIONS:
        raise ValueError(f"its version is {version}")
    _check("keys", keys, MAX_KEYS)
    _check("tensors", tensors, MAX_TENSORS)
    values = {_text(file): _value(file, *_unpack(file, "<I")) for _ in range(keys)}
    return values, dict(_shape(file) for _ in range(tensors))


def _shape(file: BinaryIO) -> tuple[str, tuple[int, ...]]:
    name, (dimensions,) = _text(file), _unpack(file, "<I")
    _check("dimensions of a tensor", dimensions, MAX_DIMENSIONS)
    *shape, _, _ = _unpack(file, f"<{dimensions}QIQ")  # and the tensor's type and place
    return name, tuple(shape)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == TEXT:
        return _text(file)
    if kind != LIST:
        return _unpack(file, f"<{NUMBERS[kind]}")[0]
    inner, items = _unpack(file, "<IQ")
    _check("items of a list", items, MAX_ITEMS)
    if inner == TEXT:
        return [_text(file) for _ in range(items)]
    return list(_unpack(file, f"<{items}{NUMBERS[inner]}"))


def _text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    _check("bytes of a text", length, MAX_TEXT)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends in a text")
    return data.decode("utf-8", "replace")


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _check(what: str, number: int, most: int) -> None:
    if number > most:
        raise ValueError(f"it has {number} {what}")
