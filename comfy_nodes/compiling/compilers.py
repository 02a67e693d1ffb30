"""Compilers that outlive the execution of a node: one for a model and a set of options, gone with the model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

from skipstep.compile import CompileOptions, Compiler

from .host import host_switches

_KEPT = 2  # of one model, so that going back and forth between settings compiles nothing; OpenVINO's hold weights
_compilers: WeakKeyDictionary[Any, OrderedDict[Hashable, Compiler]] = WeakKeyDictionary()
_lock = threading.Lock()


def shared_compiler(owner: Any, backend: str, options: CompileOptions) -> Compiler:
    """The compiler of these options; `owner` is what lives as long as the model, and is not part of it.

    Raises:
        OptionError, BackendError: as `Compiler`.
    """
    return kept_compiler(owner, (backend, options), lambda: Compiler(backend, options, host=host_switches()))


def kept_compiler(owner: Any, key: Hashable, make: Callable[[], Compiler]) -> Compiler:
    """The compiler under this key, made if there is none."""
    with _lock:
        known = _compilers.setdefault(owner, OrderedDict())
        if key not in known:
            known[key] = make()
            if len(known) > _KEPT:
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]
