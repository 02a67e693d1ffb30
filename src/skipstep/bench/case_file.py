"""Benchmark cases as TOML files: those that ship, and those of others."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from ..compile import CompileOptions
from ..deepcache import DeepCache
from ..errors import OptionError, ScheduleError
from .case import BenchCase, BenchRow


def shipped_cases() -> dict[str, Path]:
    """The cases in the package, by name."""
    folder = Path(str(resources.files("skipstep.bench") / "cases"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def load_case(name: str, **changes: Any) -> BenchCase:
    """A shipped case by name or a TOML file, with `changes` in place of its own values.

    Raises:
        OptionError: if there is no such case, or it holds something that is not known or not allowed.
    """
    shipped = shipped_cases()
    path = shipped.get(name, Path(name))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OptionError(f"{name} is not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise OptionError(f"no case {name!r}: give a TOML file or one of {', '.join(shipped)}") from error
    case = case_from(_parsed(text, name))
    others = [f"{key} {value}" for key, value in changes.items() if key in ("model", "width", "height", "frames")]
    if others:  # which the title may name
        changes = {"title": f"{case.title} (here {', '.join(others)})", **changes}
    return replace(case, **changes)


def case_from(data: Mapping[str, Any]) -> BenchCase:
    """A case from the tables of a TOML file.

    Raises:
        OptionError: as `load_case`.
    """
    values = dict(data)
    rows = values.pop("row", [])
    _refuse_unknown(values, BenchCase, "the case")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise OptionError(f"row must be tables, each under [[row]], got {rows!r}")
    if "title" not in values:
        raise OptionError('the case has no title; give it one: title = "Mine"')
    if "prompts" in values:
        if not isinstance(values["prompts"], list):
            raise OptionError(f"prompts must be a list of texts, got {values['prompts']!r}")
        values["prompts"] = tuple(values["prompts"])
    return BenchCase(rows=tuple(_row(row) for row in rows), **values)


def _row(data: Mapping[str, Any]) -> BenchRow:
    values = dict(data)
    where = f"row {values.setdefault('name', None)!r}"
    _refuse_unknown(values, BenchRow, where)
    for key, kind in (("compile", CompileOptions), ("reuse", DeepCache)):
        if key in values:
            values[key] = _options(kind, values[key], f"{key} of {where}")
    return BenchRow(**values)


def _options(kind: type[Any], values: object, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise OptionError(f"{where} must be a table of options, {{ ... }}, got {values!r}")
    _refuse_unknown(values, kind, where)
    for entry in fields(kind):
        value = values.get(entry.name, entry.default)
        if isinstance(entry.default, bool) and not isinstance(value, bool):
            raise OptionError(f"{where}: {entry.name} must be true or false, got {value!r}")
    try:
        return kind(**values)
    except (OptionError, ScheduleError) as error:
        raise OptionError(f"{where}: {error}") from error
    except TypeError as error:
        raise OptionError(f"{where} has a value of the wrong kind, {dict(values)}: {error}") from error


def _refuse_unknown(values: Mapping[str, Any], kind: type[Any], where: str) -> None:
    known = {"row" if entry.name == "rows" else entry.name for entry in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise OptionError(f"{where} has no {', '.join(sorted(unknown))}; it may have {', '.join(sorted(known))}")


def _parsed(text: str, name: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{name} is not TOML: {error}") from error
