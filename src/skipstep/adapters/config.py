"""What an adapter's config may say: which fields are read, which have no effect here, and which are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from .config_fields import IGNORED, READ, REFUSED
from .families import Family, family_of
from .folder import CONFIG
from .opening import read_small
from .strict_json import parse_object

MAX_CONFIG = 512 * 1024
MAX_SCALE = 1e4
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal")


class Config:
    """The fields of a config that was seen to have no refused ones, each read with its bounds."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        for field, value in fields.items():
            _check_field(field, value)
        self.family: Family = family_of(
            fields.get("peft_type"), rslora=self.switch("use_rslora"), dora=self.switch("use_dora")
        )

    def whole(self, field: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number of `low`..`high`."""
        value = self.fields.get(field)
        value = default if value is None else value
        if type(value) is not int or not low <= value <= high:
            raise AdapterError(f"{field}: must be a whole number of {low}..{high}, got {_short(value)}")
        return value

    def switch(self, field: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self.fields.get(field, default)
        if value is not None and not isinstance(value, bool):
            raise AdapterError(f"{field}: must be true or false, got {_short(value)}")
        return default if value is None else value

    def number(self, field: str, default: float | None = None) -> float:
        """A finite number of at most `MAX_SCALE` either way."""
        return bounded(self.fields.get(field, default), field)

    def pattern(self, field: str) -> Mapping[str, Any]:
        """An object by module; empty where there is none."""
        value = self.fields.get(field) or {}
        if not isinstance(value, dict):
            raise AdapterError(f"{field}: must be an object, got {_short(value)}")
        return value


def bounded(value: Any, field: str) -> float:
    """`value` as a finite number of at most `MAX_SCALE` either way.

    Raises:
        AdapterError: names the field.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_SCALE:
        raise AdapterError(f"{field}: must be a number of -{MAX_SCALE:g}..{MAX_SCALE:g}, got {_short(value)}")
    return float(value)


def read_config(folder: Path) -> Config:
    """The config of an adapter folder.

    Raises:
        AdapterError: if it is damaged, or a field has what is not supported or not safe.
    """
    return Config(parse_object(read_small(folder / CONFIG, limit=MAX_CONFIG), CONFIG))


def _check_field(field: str, value: Any) -> None:
    empty = not value or value == "none"
    if field in REFUSED:
        if not empty:
            raise AdapterError(f"{field}: {_short(value)} is refused, {REFUSED[field]}")
    elif field not in IGNORED | READ and not empty:
        raise AdapterError(f"{field[:80]}: is no field that is known, and may change what the adapter does; remove it")
    if field == "init_lora_weights" and (isinstance(value, (dict, list, int, float)) and not isinstance(value, bool)):
        raise AdapterError(f"{field}: must be true or false, got {_short(value)}")
    if field == "init_lora_weights" and value not in _PLAIN_STARTS:
        raise AdapterError(f"{field}: {_short(value)} is refused, its training changed the base model too")
    if field == "megatron_core" and value not in (None, "megatron.core"):
        raise AdapterError(f"{field}: {_short(value)} is refused, it names a Python module to import")
    if field == "task_type" and value not in (None, "CAUSAL_LM"):
        raise AdapterError(f"{field}: must be CAUSAL_LM, got {_short(value)}; prompt models write text")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def root_or_rank(rank: int, *, stabilised: bool) -> float:
    """What alpha is divided by: the rank, or for rsLoRA (Kalajdzievski 2023, arXiv:2312.03732) its square root."""
    return math.sqrt(rank) if stabilised else float(rank)
