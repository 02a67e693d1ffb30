"""The adapters that llama.cpp has beside a model: it takes them as it starts, and each question says how strongly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..adapters import AdapterInfo, BaseModel, write_gguf
from .adapter_use import Stacked

MAX_LOADED = 8


class GgufAdapters:
    """Those that are loaded: the eight used last. `order`, their identities, is that of llama.cpp's ids."""

    def __init__(self) -> None:
        self.order: tuple[str, ...] = ()
        self._used: dict[str, AdapterInfo] = {}  # the last one last

    def use(self, stack: Sequence[Stacked]) -> bool:
        """Take these in; True if one is not loaded, so that the model must be started anew."""
        for stacked in stack:
            self._used.pop(stacked.info.identity, None)
            self._used[stacked.info.identity] = stacked.info
        if all(stacked.info.identity in self.order for stacked in stack):
            return False
        self._used = dict(list(self._used.items())[-MAX_LOADED:])
        self.order = tuple(self._used)
        return True

    def forget(self, adapter: AdapterInfo) -> bool:
        """Let one go; True if it was there, so that the model must be started anew."""
        if self._used.pop(adapter.identity, None) is None:
            return False
        self.order = tuple(self._used)
        return True

    @contextmanager
    def files(self, base: BaseModel | None) -> Iterator[list[Path]]:
        """GGUF files of all, while llama.cpp reads them.

        Raises:
            AdapterError: if one is gone or changed since it was inspected.
        """
        with TemporaryDirectory(prefix="skipstep-lora-") as folder:
            written = []
            for number, identity in enumerate(self.order):
                written.append(Path(folder) / f"{number}.gguf")
                assert base is not None, "an adapter was inspected without a base model"
                write_gguf(self._used[identity], written[-1], base=base)
            yield written


def scales(order: Sequence[str], stack: Sequence[Stacked]) -> list[dict[str, Any]]:
    """The scale of every adapter that is loaded, 0 for those of other questions: what is left out would act."""
    wanted = {stacked.info.identity: 0.0 for stacked in stack}
    for stacked in stack:
        wanted[stacked.info.identity] += stacked.scale
    return [{"id": number, "scale": wanted.get(identity, 0.0)} for number, identity in enumerate(order)]
