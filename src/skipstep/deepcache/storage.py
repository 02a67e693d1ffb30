"""How deep features are kept between evaluations: in which type, and on the device or in host memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ..errors import OptionError
from ._host import Copies, CopiesBeside, CopiesInTurn, HostTensor

SAME, CPU = "same", "cpu"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
ROOM = 15  # float16 reaches to just below 2**16

Made = TypeVar("Made")


class Place(Protocol):
    """Where a tensor is."""

    def get(self) -> Tensor:
        """The tensor on its device."""
        ...

    def bring(self) -> None:
        """Have it there ahead of `get`, until `release`."""
        ...

    def release(self) -> None:
        """It is not needed there for a while."""
        ...

    @property
    def device_bytes(self) -> int:
        """Bytes held on the device now."""
        ...

    @property
    def host_bytes(self) -> int:
        """Bytes held in host memory beside those."""
        ...


class Resident:
    """A tensor that stays where it is."""

    host_bytes = 0

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.device_bytes: int = tensor.nbytes

    def get(self) -> Tensor:
        """The tensor itself."""
        return self._tensor

    def bring(self) -> None:
        """It is there."""

    def release(self) -> None:
        """It stays there."""


class Rounded:
    """A tensor that is kept in a smaller type."""

    def __init__(self, place: Place, dtype: torch.dtype, factor: Tensor | None) -> None:
        self._place = place
        self._dtype = dtype
        self._factor = factor

    def get(self) -> Tensor:
        """A new tensor of the type that was put."""
        tensor = self._place.get().to(self._dtype)
        return tensor if self._factor is None else tensor.mul_(self._factor)

    def bring(self) -> None:
        """As of its place."""
        self._place.bring()

    def release(self) -> None:
        """As of its place."""
        self._place.release()

    @property
    def device_bytes(self) -> int:
        """Bytes held on the device now."""
        return self._place.device_bytes + (0 if self._factor is None else self._factor.nbytes)

    @property
    def host_bytes(self) -> int:
        """Bytes held in host memory."""
        return self._place.host_bytes


class FeatureStore:
    """Keeps tensors as they are, or rounded to `dtype` ("float16", "bfloat16"), or in host memory (`device` "cpu").

    With `prefetch` copies run beside the computation: to the host at once, and back ahead of use. Without it they are
    made when the tensor is put and whenever it is taken, and between those the device holds nothing.

    Raises:
        OptionError: if a value is none of these, or prefetch is switched off where nothing is copied.
    """

    def __init__(self, dtype: str = SAME, device: str = SAME, *, prefetch: bool = True) -> None:
        if dtype not in (SAME, *DTYPES):
            raise OptionError(f"feature_dtype must be {SAME}, {' or '.join(DTYPES)}, got {dtype!r}")
        if device not in (SAME, CPU):
            raise OptionError(f"feature_device must be {SAME} or {CPU}, got {device!r}")
        if not isinstance(prefetch, bool):
            raise OptionError(f"prefetch must be true or false, got {prefetch!r}")
        if device == SAME and not prefetch:
            raise OptionError(
                f"prefetch is about features in host memory, and feature_device is {SAME!r}; "
                f"leave prefetch out, or use feature_device {CPU!r}"
            )
        self.prefetches = device == CPU and prefetch
        self._dtype = DTYPES.get(dtype)
        self._on_host = device == CPU
        self._copies: dict[torch.device, Copies] = {}

    def put(self, tensor: Tensor) -> Place:
        """Keep a tensor, which is not to be written to any more.

        Raises:
            OptionError: if its type is no larger than the one to round to.
        """
        dtype = self._dtype
        if dtype is None or tensor.dtype == dtype:
            return self._place(_alone(tensor))
        if tensor.element_size() <= dtype.itemsize:
            raise OptionError(
                f"feature_dtype {_name(dtype)} would round this UNet's features and save nothing: they are "
                f"{_name(tensor.dtype)}; use {SAME!r}"
            )
        if dtype == torch.float16:
            kept, factor = _halved(tensor.detach())
            return Rounded(self._place(kept), tensor.dtype, factor)
        return Rounded(self._place(tensor.detach().to(dtype)), tensor.dtype, None)

    def _place(self, tensor: Tensor) -> Place:
        if not self._on_host:
            return Resident(tensor)
        return HostTensor(tensor.detach(), self._copies_of(tensor.device), stays_near=self.prefetches)

    def _copies_of(self, device: torch.device) -> Copies:
        if device not in self._copies:
            beside = self.prefetches and device.type == "cuda"
            self._copies[device] = CopiesBeside(device) if beside else CopiesInTurn(device)
        return self._copies[device]


def in_turn(places: Iterable[Place], use: Callable[[Tensor], Made]) -> list[Made]:
    """What `use` makes of each tensor, the next one being brought meanwhile; at most two are brought at once."""
    waiting = list(places)
    made: list[Made] = []
    for index, place in enumerate(waiting):
        place.bring()
        for following in waiting[index + 1 : index + 2]:
            following.bring()
        made.append(use(place.get()))
        place.release()
    return made


def _alone(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it if it is a view that would keep more memory than its own."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _halved(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor in float16 and what to multiply it by: 1, or the power of two that keeps its largest from infinity.

    Nothing waits for the device, as asking whether it overflowed would.
    """
    largest = torch.linalg.vector_norm(tensor, float("inf")).float()
    mantissa, exponent = torch.frexp(largest)  # of infinity and not-a-number the exponent is 0
    factor = torch.where(exponent > ROOM, largest * 2.0**-ROOM / mantissa, 1.0)
    kept = torch.empty_like(tensor, dtype=torch.float16)
    torch.mul(tensor, 1 / factor, out=kept)
    return kept, factor


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
