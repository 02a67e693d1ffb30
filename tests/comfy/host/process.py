"""ComfyUI in this process: its modules importable, its nodes callable, the pack loaded as ComfyUI loads it."""

from __future__ import annotations

import asyncio
import importlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ARGUMENTS = ("--cpu", "--use-pytorch-cross-attention", "--disable-api-nodes")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The ComfyUI that `import comfy...` finds, and the folder of its models, inputs and outputs."""

    tree: Path
    base: Path


_prepared: dict[str, Prepared] = {}  # at most one: a process imports ComfyUI once


def prepare(tree: Path) -> Prepared:
    """Make `import comfy...`, `import nodes` and `import comfy_extras...` find this tree, with arguments for tests.

    Imports nothing heavy, so a test module can import ComfyUI's modules at its top. Every process has a base
    directory of its own, which `forget` removes.
    """
    if not _prepared:
        base = Path(tempfile.mkdtemp(prefix="skipstep-comfy-"))
        for name in ("custom_nodes", "input", "output", "temp", "user"):
            (base / name).mkdir()
        # first, because `comfy` has no __init__.py, and the folder of these tests has that name too
        sys.path.insert(0, str(tree))
        _parse(("--base-directory", str(base), *ARGUMENTS))
        _prepared["this"] = Prepared(tree=tree, base=base)
    return _prepared["this"]


def forget() -> None:
    """Remove the base directory, when the process is done."""
    if _prepared:
        shutil.rmtree(_prepared.pop("this").base, ignore_errors=True)


def _parse(arguments: tuple[str, ...]) -> None:
    """ComfyUI reads its arguments when `comfy.cli_args` is imported."""
    import comfy.options

    comfy.options.enable_args_parsing()
    before = sys.argv
    sys.argv = ["main.py", *arguments]
    try:
        import comfy.cli_args
    finally:
        sys.argv = before


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its result, from a thread of its own: a browser test may have a running loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class Core:
    """The nodes of core, and of the packs that were loaded, callable as ComfyUI's executor calls them."""

    def __init__(self, prepared: Prepared, *, version: str) -> None:
        self.version = version
        self.tree = prepared.tree
        self.base = prepared.base

    def load_extras(self) -> list[str]:
        """Register the nodes of `comfy_extras`; the files that could not be imported."""
        import nodes

        return list(run_coroutine(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)))

    def node(self, node_id: str) -> Any:
        """The class of a node."""
        import nodes

        return nodes.NODE_CLASS_MAPPINGS[node_id]

    def call(self, node_id: str, /, **inputs: Any) -> tuple[Any, ...]:
        """The outputs of a node of either API; inputs that have no value in a graph are to be left out here too."""
        import torch

        kind = self.node(node_id)
        new_api = hasattr(kind, "PREPARE_CLASS_CLONE")
        node = kind.PREPARE_CLASS_CLONE(None) if new_api else kind()
        with torch.inference_mode():  # as the executor does
            output = getattr(node, kind.FUNCTION)(**inputs)
        if asyncio.iscoroutine(output):
            output = run_coroutine(_in_inference_mode(output))
        if new_api:
            return tuple(output.args)
        return tuple(output["result"] if isinstance(output, dict) else output)


async def _in_inference_mode(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The mode belongs to a thread."""
    import torch

    with torch.inference_mode():
        return await coroutine


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack that ComfyUI has loaded from its folder."""

    name: str  # of its module
    node_ids: frozenset[str]

    def module(self, path: str = "") -> ModuleType:
        """A module of the pack, such as `comfy_nodes.nodes`; the pack itself without a path."""
        return importlib.import_module(f"{self.name}.{path}" if path else self.name)


def load_pack(core: Core, folder: Path, *, name: str) -> Pack:
    """Link the folder into `custom_nodes` and load it as ComfyUI does.

    Raises:
        RuntimeError: if ComfyUI would say `IMPORT FAILED`, with what it logged.
    """
    import nodes

    link = core.base / "custom_nodes" / name
    link.symlink_to(folder, target_is_directory=True)
    before = set(nodes.NODE_CLASS_MAPPINGS)
    with _logged() as messages:
        loaded = run_coroutine(nodes.load_custom_node(str(link), before, module_parent="custom_nodes"))
    if not loaded:
        raise RuntimeError(f"ComfyUI could not load {folder}:\n" + "\n".join(messages))
    # the name that nodes.load_custom_node gives to the module of a folder
    return Pack(name=str(link).replace(".", "_x_"), node_ids=frozenset(set(nodes.NODE_CLASS_MAPPINGS) - before))


@contextmanager
def _logged() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keep(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(handler)
