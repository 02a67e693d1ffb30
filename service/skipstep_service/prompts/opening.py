"""The prompt model that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from skipstep.errors import AdapterError, OptionError
from skipstep.promptllm import Engine, PromptExpander, open_engine, open_expander

from ..settings import Settings
from .line import Line
from .presets import served_presets
from .prompting import OnTurn, Prompting
from .reply import nobody

log = structlog.get_logger()


def open_prompting(settings: Settings, *, on_turn: OnTurn = nobody) -> Prompting | None:
    """What answers, with every adapter of the adapters' folder that can be used; None if the settings name no engine.

    Adapters that are refused are named in the log. Answers are not kept on disk: a job's is kept with the job.

    Raises:
        OptionError, ModelLoadError, MissingExtraError: if the engine, its model, a preset or the folder cannot be used.
    """
    if settings.prompt_engine == "none":
        return None
    root = None if settings.prompt_adapters is None else Path(settings.prompt_adapters)
    presets = served_presets(settings.prompt_presets)
    expander = open_expander(_engine(settings), cached=False, adapters=root)
    if root is not None:
        _fill(expander, root)
    line = Line(max_waiting=settings.prompt_max_queue)
    return Prompting(expander, presets, line, timeout_s=settings.prompt_timeout_s, root=root, on_turn=on_turn)


def _engine(settings: Settings) -> Engine:
    given: dict[str, Any] = {
        "model": settings.prompt_model,
        "url": settings.prompt_url,
        "device": None if settings.prompt_device == "auto" else settings.prompt_device,
        "idle_s": settings.prompt_idle_s or None,
    }
    return open_engine(settings.prompt_engine, **{name: value for name, value in given.items() if value is not None})


def _fill(expander: PromptExpander, root: Path) -> None:
    if not root.is_dir():
        raise OptionError(f"prompt_adapters must be a folder with adapter folders, got {str(root)!r}")
    if expander.engine.base is None:
        raise OptionError(f"prompt_adapters is set, but {expander.engine.model} takes no adapters; use the engine hf")
    for folder in sorted(one for one in root.iterdir() if one.is_dir()):
        try:
            expander.adapters.add(folder)
        except (AdapterError, OptionError) as error:
            log.warning("an adapter was left out", folder=folder.name, reason=str(error))
