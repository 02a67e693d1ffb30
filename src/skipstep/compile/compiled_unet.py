"""A UNet whose every call is a compiled full pass: for hosts that take a module, not a session."""

from __future__ import annotations

import copy
from functools import wraps
from types import MethodType
from typing import Any

from torch import nn

from ..deepcache import UNetProxy
from .compiler import Compiler


class CompiledUNet(UNetProxy):
    """Stands for a UNet: its calls run compiled, and all else is the UNet's own.

    It passes for the UNet in `isinstance`: diffusers hands adapters to what is a model of its own, and to no other.
    `skipstep.attach` finds the UNet in it, as `uncompiled`, and compiles both passes with the same compiler. A copy has
    the same UNet, a deep copy a copy of the UNet, both the same compiler; a pickle is one of the UNet.
    """

    uncompiled: nn.Module
    split_maker: Compiler

    def __init__(self, unet: nn.Module, compiler: Compiler) -> None:
        super().__init__(unet, uncompiled=unet, split_maker=compiler)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.split_maker(self.uncompiled, (0,)).full(*args, **kwargs)[0]

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if not isinstance(found, MethodType) or found.__self__ is not self.uncompiled:
            return found

        @wraps(found)
        def call(*args: Any, **kwargs: Any) -> Any:
            made = found(*args, **kwargs)
            return self if made is self.uncompiled else made  # `to` and `eval`, of which the result may be kept

        return call

    def __copy__(self) -> CompiledUNet:
        return CompiledUNet(self.uncompiled, self.split_maker)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledUNet:
        return CompiledUNet(copy.deepcopy(self.uncompiled, memo), self.split_maker)
