"""What an adapter is, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from skipstep.adapters import AdapterInfo, Module, inspect_adapter

_MIB = 2**20
_NUMBERS = re.compile(r"(?<=[._])\d+(?=[._])")


def adapter_text(path: Path, name: str) -> str:
    """A report on an adapter, which is looked at and not loaded.

    Raises:
        AdapterError: if it is unsafe or broken; names the field, tensor or file.
    """
    info = inspect_adapter(path)
    lines = [
        f"{name}: {info.family}, {info.layout} layout",
        f"{info.parameters:,} parameters, {info.bytes / _MIB:.2f} MiB, sha256 {info.sha256[:16]}",
    ]
    if info.base is not None:
        lines.append(f"made for {info.base.architecture}, {info.base.layers} layers of {info.base.hidden_size}")
    if not info.modules:
        lines.append(f"{info.config['num_virtual_tokens']} virtual tokens")
    return "\n".join([*lines, *_kinds(info), *(f"note: {warning}" for warning in info.warnings)])


def _kinds(info: AdapterInfo) -> list[str]:
    """A line for each kind of module; those of different layers are one kind."""
    kinds: dict[str, list[Module]] = {}
    for module in info.modules:
        kinds.setdefault(_NUMBERS.sub("*", module.name), []).append(module)
    return [
        f"{len(same)} x {kind}: rank {_span(m.rank for m in same)}, alpha {_span(m.alpha for m in same)}, "
        f"scale {_span(m.scale for m in same)}"
        for kind, same in kinds.items()
    ]


def _span(values: Iterable[float | None]) -> str:
    """One value, or the smallest and the largest."""
    known = sorted({value for value in values if value is not None})
    if not known:
        return "-"
    return f"{known[0]:g}" if len(known) == 1 else f"{known[0]:g}..{known[-1]:g}"
