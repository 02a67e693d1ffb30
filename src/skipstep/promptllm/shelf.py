"""The adapters of a prompt model, by name: inspected when they come, loaded when a question needs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from ..adapters import AdapterInfo, inspect_adapter
from ..adapters.sidecar import read_sidecar
from ..errors import AdapterError, OptionError
from .adapter_use import AdapterUse, Stacked, check_name, check_uses
from .engine import Engine
from .rewriting import rewriter_folder

MAX_ADAPTERS = 256
REWRITER = "rewriter"


class AdapterShelf:
    """Adapters for one engine's model. Each was inspected against the model; folders must lie in `root`, if given.

    For the default model, one named "rewriter" is there from the start (`rewriter_folder`).
    """

    def __init__(self, engine: Engine, *, root: Path | None = None) -> None:
        self._engine = engine
        self._root = root
        self._adapters = shipped_adapters(engine)
        self._lock = Lock()

    def add(self, path: Path | str, *, name: str | None = None, replace: bool = False) -> AdapterInfo:
        """Inspect an adapter and keep it by a name, the folder's if none is given.

        With `replace`, one of this name gives way; questions that are being answered with it go on.

        Raises:
            AdapterError: if it is unsafe, broken, for another model, of a family that the engine has no use for, or
                there are 256.
            OptionError: if the engine takes no adapters, or the name cannot be one or is taken.
        """
        base = self._engine.base
        if base is None:
            raise OptionError(
                f"the engine {self._engine.name} takes none for {self._engine.model}; gguf takes adapters of Llamas "
                "and hf of all models, and on a server an adapter is a model of its own"
            )
        name = Path(path).name if name is None else name
        check_name(name)
        info = inspect_adapter(path, root=self._root, base=base)
        if info.family not in self._engine.families:
            raise AdapterError(
                f"family: {info.family} is not among those of the engine {self._engine.name}, which are "
                f"{', '.join(sorted(self._engine.families))}; use the engine hf, or export it merged"
            )
        with self._lock:
            former = self._adapters.get(name)
            if former is not None and not replace:
                raise OptionError(f"there is an adapter {name} already; take another name, or remove that one first")
            if former is None and len(self._adapters) >= MAX_ADAPTERS:
                raise AdapterError(f"adapters: there are {MAX_ADAPTERS}, which is the most; remove one first")
            self._adapters[name] = info
        if former is not None:
            self._forget(former)
        return info

    def remove(self, name: str) -> None:
        """Give an adapter up, and its memory back.

        Raises:
            OptionError: if there is none of this name.
        """
        with self._lock:
            if name not in self._adapters:
                raise OptionError(self._unknown(name))
            info = self._adapters.pop(name)
        self._forget(info)

    def listed(self) -> dict[str, AdapterInfo]:
        """All adapters by name, in the order they came."""
        with self._lock:
            return dict(self._adapters)

    def usual(self) -> tuple[AdapterUse, ...]:
        """What a prompt is added to with, where nothing else is asked for: the rewriter, where it is there."""
        with self._lock:
            return (AdapterUse(name=REWRITER),) if REWRITER in self._adapters else ()

    def stack(self, uses: Sequence[AdapterUse]) -> tuple[Stacked, ...]:
        """The adapters of these names; those with a scale of 0 are left out.

        Raises:
            OptionError: if a name is unknown, or they cannot be stacked.
        """
        check_uses(uses)
        with self._lock:
            for use in uses:
                if use.name not in self._adapters:
                    raise OptionError(self._unknown(use.name))
            return tuple(Stacked(info=self._adapters[use.name], scale=use.scale) for use in uses if use.scale)

    def _unknown(self, name: str) -> str:
        return f"there is no adapter {name[:80]!r}; there are: {', '.join(sorted(self._adapters)) or 'none'}"

    def _forget(self, info: AdapterInfo) -> None:
        """Have the engine forget an adapter that no other name stands for."""
        with self._lock:
            if any(other.identity == info.identity for other in self._adapters.values()):
                return
        self._engine.forget(info)


def shipped_adapters(engine: Engine) -> dict[str, AdapterInfo]:
    """The rewriting LoRA, if the engine's model is of the sizes that it was made for."""
    base, folder = engine.base, rewriter_folder()
    if base is None:
        return {}
    made_for = read_sidecar(folder)
    if made_for is None or made_for.difference(base.fingerprint) is not None:
        return {}
    return {REWRITER: inspect_adapter(folder, base=base)}
