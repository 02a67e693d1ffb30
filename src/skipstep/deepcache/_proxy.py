"""Something that stands for a UNet and is called in its place."""

from __future__ import annotations

from typing import Any


class UNetProxy:
    """Passes for a UNet in `isinstance`: attributes are read from it, written to it and deleted of it.

    So loading a LoRA, moving devices or reading the configuration act on the real one. What is the proxy's `own` is
    named when it is made, and cannot be written to.
    """

    def __init__(self, unet: Any, **own: Any) -> None:
        object.__setattr__(self, "_unet", unet)
        object.__setattr__(self, "__module__", type(unet).__module__)  # diffusers notes where a component is from
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.__dict__.get("_unet", self))

    def __getattr__(self, name: str) -> Any:
        if "_unet" not in self.__dict__:  # a copy in the making
            raise AttributeError(name)
        return getattr(self._unet, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_own(name)
        setattr(self._unet, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_own(name)
        delattr(self._unet, name)

    def __dir__(self) -> list[str]:
        return dir(self._unet)

    def __reduce_ex__(self, protocol: Any) -> Any:  # a pickle is one of the UNet
        return self._unet.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return repr(self._unet)

    def _refuse_own(self, name: str) -> None:
        if name in self.__dict__:
            raise AttributeError(f"{name} is of {type(self).__name__}, not of the UNet, and cannot be changed")
