"""A UNet whose every call is a compiled full pass: for hosts that take a module, not a session."""

from __future__ import annotations

from typing import Any

from torch import nn

from .compiler import Compiler


class CompiledUNet(nn.Module):
    """Stands for a UNet: its calls run compiled, and its attributes are the UNet's own.

    It passes for the UNet in `isinstance`: diffusers hands adapters to what is a model of its own, and to no other.
    `skipstep.attach` finds the UNet in it and compiles both passes with the same compiler.
    """

    def __init__(self, unet: nn.Module, compiler: Compiler) -> None:
        super().__init__()
        self.uncompiled = unet
        self.split_maker = compiler
        self.__module__ = type(unet).__module__  # diffusers notes where a component is from

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        unet = self.__dict__.get("_modules", {}).get("uncompiled")
        return CompiledUNet if unet is None else type(unet)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output."""
        return self.split_maker(self.uncompiled, (0,)).full(*args, **kwargs)[0]

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__.get("_modules", {})
        if name in own:
            return own[name]
        if "uncompiled" not in own:  # a copy in the making
            raise AttributeError(name)
        return getattr(own["uncompiled"], name)
