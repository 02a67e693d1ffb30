"""`skipstep adapters`: what an adapter is, before anything loads it, and copies of it for other programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import OptionError
from ._console import MIB, console, quiet_transformers, say
from .train import train

if TYPE_CHECKING:
    from ..adapters import AdapterInfo, Module

adapters = typer.Typer(
    name="adapters", rich_markup_mode=None, help="Check adapters of language and image models, and export them."
)
adapters.command()(train)
_BASE = typer.Option("--base", metavar="FOLDER", help="A transformers folder of the base model, to compare with.")


class Format(str, Enum):
    """What an adapter is written as."""

    peft = "peft"
    gguf = "gguf"
    merged = "merged"


class Layout(str, Enum):
    """How an adapter was published."""

    auto = "auto"
    peft = "peft"
    sora = "sora"
    offsite = "offsite"
    image = "image"


@adapters.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A PEFT folder, or a LoRA .safetensors file of an image model.")],
    base: Annotated[Path | None, _BASE] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with each module.")] = False,
) -> None:
    """Show an adapter's family, modules, ranks and scales; nothing is loaded, and what is unsafe is refused."""
    from ..adapters import base_of_folder, inspect_adapter

    info = inspect_adapter(path, base=None if base is None else base_of_folder(base))
    if as_json:
        console.print_json(json.dumps({**asdict(info), "path": str(info.path)}))
        return
    say("adapter", str(info.path))
    say("family", f"{info.family}, {info.layout} layout")
    say("weights", f"{info.parameters:,} parameters, {info.bytes / MIB:.2f} MiB, sha256 {info.sha256}")
    if info.base is not None:
        made_for = info.base
        say("made for", f"{made_for.architecture}, {made_for.layers} layers of {made_for.hidden_size}")
    if not info.modules:
        say("prompt", f"{info.config['num_virtual_tokens']} virtual tokens")
    else:
        say("modules", str(len(info.modules)))
        console.print(_table(info))
    for warning in info.warnings:
        say("note", warning)


@adapters.command()
def export(
    path: Annotated[Path, typer.Argument(help="A PEFT folder; for peft and gguf of a LoRA, rsLoRA or AdaLoRA.")],
    out: Annotated[Path, typer.Argument(help="The folder, or for gguf the file, to write.")],
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="peft: scale in the matrices; gguf: for llama.cpp; merged: a copy of the base model.")
    ] = Format.peft,
    base: Annotated[Path | None, _BASE] = None,
) -> None:
    """Write a LoRA so that other programs scale it right: as PEFT with a scale of 1, or GGUF; or merge any adapter."""
    from ..adapters import base_of_folder, inspect_adapter, write_canonical, write_gguf

    model = None if base is None else base_of_folder(base)
    info = inspect_adapter(path, base=model)
    if format is Format.peft:
        write_canonical(info, out, base=model)
    elif base is None or model is None:
        raise OptionError(f"--format {format.value} needs the base model; name its folder with --base")
    elif format is Format.gguf:
        write_gguf(info, out, base=model)
    else:
        from ..adapters.merged import write_merged

        quiet_transformers()
        write_merged(info, out, base=base)
    say("written", str(out))


@adapters.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A pickle (.bin, .pt), or the folder that it is in.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; for offsite and image the .safetensors file.")],
    layout: Annotated[Layout, typer.Option(help="How it was published; auto looks at the names.")] = Layout.auto,
    base: Annotated[Path | None, _BASE] = None,
    train_layers: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="offsite: the layers it has, where no metadata.json says.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A module to leave out, as those trained beside SoRA; may be repeated."),
    ] = None,
) -> None:
    """Make safetensors of an adapter that was published as a pickle; a process without rights reads it."""
    from ..adapters import base_of_folder
    from ..adapters.conversion import ConversionHints, convert_adapter

    hints = ConversionHints(
        train_layers=None if train_layers is None else _numbers(train_layers), leave_out=leave_out or ()
    )
    model = None if base is None else base_of_folder(base)
    found = convert_adapter(source, out, layout=layout.value, base=model, hints=hints)
    say("layout", found)
    say("written", str(out))


@adapters.command()
def plug(
    layers: Annotated[
        Path, typer.Argument(help="A .safetensors file of trained outer layers (offsite-tuning, CRaSh).")
    ],
    base: Annotated[Path, typer.Option(metavar="FOLDER", help="A transformers folder of the full model.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write.")],
) -> None:
    """Write a copy of a model that has trained outer layers in the place of its own."""
    from ..adapters.crash.full_model import write_plugged

    quiet_transformers()
    write_plugged(layers, out, base=base)
    say("written", str(out))


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and len(part) < 6 for part in parts):
        raise OptionError(f"--train-layers must be numbers with commas, as 0,1,28,29, got {text!r}")
    return [int(part) for part in parts]


def _table(info: AdapterInfo) -> Table:
    """A row for each kind of module; those of different layers are one kind."""
    kinds: dict[str, list[Module]] = {}
    for module in info.modules:
        kinds.setdefault(re.sub(r"(?<=[._])\d+(?=[._])", "*", module.name), []).append(module)
    table = Table(box=None, pad_edge=False)
    for heading in ("module", "count", "rank", "alpha", "scale", "inputs", "outputs"):
        table.add_column(heading, overflow="fold")
    for kind, same in kinds.items():
        columns = zip(*((m.rank, m.alpha, m.scale, m.inputs, m.outputs) for m in same), strict=True)
        table.add_row(kind, str(len(same)), *map(_span, columns))
    return table


def _span(values: Iterable[float | None]) -> str:
    """One value, or the smallest and the largest."""
    known = sorted({value for value in values if value is not None})
    if not known:
        return "-"
    return f"{known[0]:g}" if len(known) == 1 else f"{known[0]:g}..{known[-1]:g}"
