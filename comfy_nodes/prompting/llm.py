"""What goes from node to node as PROMPT_LLM."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from skipstep.promptllm import AdapterUse, PromptExpander
from skipstep.promptllm.adapter_use import check_uses

from .patcher import EnginePatcher

LEAF = 55  # letters of a folder's name that fit before a hash


@dataclass(frozen=True, kw_only=True)
class PromptLLM:
    """An expander with the adapters that are to be on its model, in order; several of these share one expander.

    Without a `patcher` there is no memory to give back.
    """

    expander: PromptExpander
    patcher: EnginePatcher | None = None
    adapters: tuple[AdapterUse, ...] = ()

    def adapted(self, path: Path, *, name: str, scale: float) -> PromptLLM:
        """The same model with one adapter more; `name` is that of the folder in ComfyUI's.

        Raises:
            AdapterError: if it is unsafe, broken, or for another model.
            OptionError: if the engine takes no adapters, the adapter is there already, or there are too many.
        """
        use = AdapterUse(name=shelf_name(name), scale=scale)
        uses = (*self.adapters, use)
        check_uses(uses)
        self.expander.adapters.add(path, name=use.name, replace=True)
        return replace(self, adapters=uses)

    def close(self) -> None:
        """Give the model's memory back."""
        self.expander.close()

    def get_ram_usage(self) -> int:
        """Bytes that ComfyUI may count on when it clears its cache of results, where it asks."""
        return self.expander.engine.loaded_bytes


def shelf_name(name: str) -> str:
    """The name of an adapter on the shelf: its folder's, with a hash where that is in another folder."""
    path = PurePath(name)
    if len(path.parts) == 1:
        return name
    return f"{path.name[:LEAF]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
