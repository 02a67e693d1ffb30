"""Models whose weights lie where they are used: newer ComfyUIs read weights as they go, which no graph can follow."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

from skipstep.errors import BackendError

_others: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # what was loaded for models that are loaded dynamically
_lock = threading.Lock()


def is_dynamic(patcher: Any) -> bool:
    """Whether a ModelPatcher loads weights as they are needed; those of ComfyUI 0.3.75 never do."""
    return hasattr(patcher, "is_dynamic") and bool(patcher.is_dynamic())


def static_patcher(patcher: Any) -> Any:
    """The patcher itself, or a clone around a model of its own that is loaded at once; one for each model.

    Raises:
        BackendError: if ComfyUI does not know how to load the model anew.
    """
    if not is_dynamic(patcher):
        return patcher
    with _lock:
        try:
            made = patcher.clone(disable_dynamic=True, model_override=_others.get(patcher.model))
        except RuntimeError as error:
            raise BackendError(
                f"{type(patcher.model).__name__} is loaded piece by piece (dynamic VRAM), which no graph can follow, "
                "and its loader cannot load it at once; start ComfyUI with --disable-dynamic-vram"
            ) from error
        _others[patcher.model] = made.get_clone_model_override()
        return made


def static_control_net(control: Any) -> Any:
    """The ControlNet itself, or a copy with weights of its own that is loaded at once; one for each."""
    patcher = control.control_model_wrapped
    if not is_dynamic(patcher):
        return control
    with _lock:
        if patcher not in _others:
            _others[patcher] = control.deepclone_multigpu(control.load_device)  # ComfyUI's own, and not dynamic
        return _others[patcher]
