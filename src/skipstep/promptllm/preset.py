"""Presets: how prompts of one style are expanded, as TOML files."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import OptionError

MAX_BYTES = 65_536
NUMBERS = {"temperature": (0.0, 2.0), "top_p": (0.01, 1.0), "repeat_penalty": (0.5, 2.0), "max_tokens": (1, 2048)}
KEYS = ("title", "system", "negative", "words", "example", "sampling")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt and what is to be added to it, shown to the model."""

    prompt: str
    added: str


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How to expand: what the model is told and shown, the negative prompt, lists of style words, and sampling.

    `sha256` is that of the file.
    """

    name: str
    title: str
    system: str
    negative: str
    words: tuple[tuple[str, ...], ...]
    examples: tuple[Example, ...]
    temperature: float
    top_p: float
    repeat_penalty: float
    max_tokens: int
    sha256: str


def shipped_presets() -> dict[str, Path]:
    """The presets in the package, by name."""
    folder = Path(str(resources.files("skipstep.promptllm") / "presets"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def load_preset(name: str) -> Preset:
    """A shipped preset by name, or a TOML file of one's own.

    Raises:
        OptionError: if there is none, or it holds something that is not known or not allowed.
    """
    shipped = shipped_presets()
    path = shipped.get(name, Path(name))
    if name not in shipped and path.suffix != ".toml":
        raise OptionError(f"preset must be one of {', '.join(shipped)} or a .toml file, got {name!r}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OptionError(f"cannot read the preset {name}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise OptionError(f"the preset {name} has more than {MAX_BYTES} bytes; shorten it")
    return _preset(_parsed(data, name), name=path.stem, sha256=hashlib.sha256(data).hexdigest())


def _preset(data: Mapping[str, Any], *, name: str, sha256: str) -> Preset:
    _refuse_unknown(data, KEYS, f"the preset {name}")
    sampling = data.get("sampling", {})
    _refuse_unknown(sampling, tuple(NUMBERS), f"sampling of {name}")
    words = data.get("words", {})
    if not isinstance(words, Mapping):
        raise OptionError(f"words of {name} must be a table of lists, got {words!r}")
    return Preset(
        name=name,
        title=_text(data, "title", name),
        system=_text(data, "system", name),
        negative=_text(data, "negative", name, needed=False),
        words=tuple(_words(key, value, name) for key, value in words.items()),
        examples=tuple(_example(entry, name) for entry in _tables(data.get("example", []), name)),
        temperature=_number(sampling, "temperature", 0.3, name),
        top_p=_number(sampling, "top_p", 0.9, name),
        repeat_penalty=_number(sampling, "repeat_penalty", 1.1, name),
        max_tokens=int(_number(sampling, "max_tokens", 64, name)),
        sha256=sha256,
    )


def _text(data: Mapping[str, Any], key: str, name: str, *, needed: bool = True) -> str:
    value = data.get(key, "")
    if not isinstance(value, str) or (needed and not value.strip()):
        raise OptionError(f"{key} of the preset {name} must be text, got {value!r}")
    return value


def _words(key: str, value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word.strip() for word in value):
        raise OptionError(f"words.{key} of the preset {name} must be a list of texts, got {value!r}")
    return tuple(value)


def _tables(value: object, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise OptionError(f"example of the preset {name} must be tables, each under [[example]], got {value!r}")
    return value


def _example(data: Mapping[str, Any], name: str) -> Example:
    _refuse_unknown(data, ("prompt", "added"), f"an example of {name}")
    return Example(prompt=_text(data, "prompt", name), added=_text(data, "added", name))


def _number(data: Mapping[str, Any], key: str, usual: float, name: str) -> float:
    value = data.get(key, usual)
    least, most = NUMBERS[key]
    kind = int if key == "max_tokens" else (int, float)
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
        raise OptionError(f"sampling.{key} of the preset {name} must be {least:g}..{most:g}, got {value!r}")
    return value


def _refuse_unknown(data: object, known: tuple[str, ...], where: str) -> None:
    if not isinstance(data, Mapping):
        raise OptionError(f"{where} must be a table, got {data!r}")
    unknown = set(data) - set(known)
    if unknown:
        raise OptionError(f"{where} has no {', '.join(sorted(unknown))}; it may have {', '.join(sorted(known))}")


def _parsed(data: bytes, name: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise OptionError(f"the preset {name} is not UTF-8 text; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"the preset {name} is not TOML: {error}") from error
