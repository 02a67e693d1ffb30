"""Torch under the name of OneFlow, for tests of all that is around it. It compiles nothing.

FLOW_FAULT is what goes wrong, in which function: "abort silu", "raise silu" or "kill silu"; FLOW_FAULT_ONCE a file that
is made when it does, after which it does not any more.
"""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import torch

__version__ = "0.9.0"


def __getattr__(name: str) -> Any:
    return getattr(torch, name)


class _Functions:
    def __getattr__(self, name: str) -> Any:
        how, _, where = os.environ.get("FLOW_FAULT", "").partition(" ")
        once = os.environ.get("FLOW_FAULT_ONCE")
        if where == name and not (once and os.path.exists(once)):
            if once:
                os.close(os.open(once, os.O_CREAT))
            if how == "abort":
                os.write(
                    2, b"F20261122 23:49:38.350231 16736 stream.cpp:147] Check failed: no stream\n*** trace: ***\n"
                )
                os.abort()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(
                f"a long \x1b[1;31mstory\x1b[0m\n\n no kernel for {name}\n  File some.cpp, line 7\n more"
            )
        return getattr(torch.nn.functional, name)


class _Graph:
    def __init__(self) -> None:
        pass

    def __call__(self, *tensors: Any) -> Any:
        return self.build(*tensors)


nn = SimpleNamespace(functional=_Functions(), Module=torch.nn.Module, Parameter=torch.nn.Parameter, Graph=_Graph)
