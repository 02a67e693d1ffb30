"""`skipstep cache`: the compiled graphs on disk."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated

import typer

from ._console import MIB, console


class Action(str, Enum):
    """What to do with the graphs."""

    list = "list"
    clear = "clear"


def cache(action: Annotated[Action, typer.Argument(help="list or clear.")] = Action.list) -> None:
    """List or delete the compiled graphs of the aot, openvino and inductor backends."""
    from ..compile import default_kernels, default_store

    store, kernel_folder = default_store(), default_kernels()
    if action is Action.clear:
        cleared = store.clear() + kernel_folder.clear()
        console.print(f"deleted {cleared.freed / MIB:.1f} MiB from {store.folder}")
        if cleared.in_use:
            console.print(f"kept what other processes are using: {cleared.in_use}; clear again when they are done")
        return
    graphs, kernels = store.graphs(), kernel_folder.size()
    for graph in graphs:
        used = datetime.fromtimestamp(graph.used).strftime("%Y-%m-%d %H:%M")
        console.print(f"{graph.size / MIB:9.1f} MiB  used {used}  {graph.name.split('-')[0]}: {graph.title}")
    if kernels:
        console.print(f"{kernels / MIB:9.1f} MiB  inductor's kernels")
    total = (sum(graph.size for graph in graphs) + kernels) / MIB
    console.print(f"{total:9.1f} MiB in {store.folder}, at most {store.limit / MIB:.0f} MiB of graphs")
