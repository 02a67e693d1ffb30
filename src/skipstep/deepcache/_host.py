"""Tensors in host memory, and their copies to and from the device: in turn with the computation, or beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

LARGEST_WASTE = 32  # a part of this many


class Copies(Protocol):
    """How bytes get to host memory and back."""

    def host(self, nbytes: int) -> Tensor:
        """That many bytes of host memory, uninitialised."""
        ...

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]], near: Tensor) -> Any:
        """Copy the second of each pair into the first; `near` is the device's end. Returns what `wait` takes."""
        ...

    def wait(self, copied: Any) -> None:
        """Have the computation go on only when a `copy` is done."""
        ...


class CopiesInTurn:
    """Copies that are done when they return."""

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"

    def host(self, nbytes: int) -> Tensor:
        """Page-locked for CUDA, which copies from there at full speed."""
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=self._pinned)

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]], near: Tensor) -> None:
        """Each in turn."""
        for to, source in pairs:
            to.copy_(source)

    def wait(self, copied: None) -> None:
        """There is nothing to wait for."""


class CopiesBeside:
    """Copies on a CUDA stream of their own, in order; the host waits for none of them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def host(self, nbytes: int) -> Tensor:
        """Page-locked: only such memory is copied while the device computes."""
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]], near: Tensor) -> Any:
        """Begin when the computation queued so far is done: it makes what is read, or used the memory before."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for to, source in pairs:
                to.copy_(source, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._stream)
        near.record_stream(self._stream)  # its memory is given to nobody else before the copy is done
        return copied

    def wait(self, copied: Any) -> None:
        """On the device, not on the host."""
        torch.cuda.current_stream(self._device).wait_event(copied)


class HostTensor:
    """A tensor whose bytes are in host memory, and on the device too as long as it is wanted there."""

    def __init__(self, tensor: Tensor, copies: Copies, *, stays_near: bool) -> None:
        self._like = tensor.shape, tensor.stride(), tensor.dtype, tensor.device
        self._copies = copies
        self._stays_near = stays_near
        self._sizes = piece_sizes(tensor.nbytes)
        self._pieces = [copies.host(size) for size in self._sizes]
        self._copied: Any = None
        copies.copy(zip(*self._matched(tensor), strict=True), tensor)
        self._near = tensor if stays_near else None

    def get(self) -> Tensor:
        """The tensor on its device."""
        near, copied = (self._near, self._copied) if self._near is not None else self._copied_back()
        if copied is not None:
            self._copies.wait(copied)
        return near

    def bring(self) -> None:
        """Begin to copy it to the device, and keep that copy until `release`; nothing where copies are in turn."""
        if self._stays_near and self._near is None:
            self._near, self._copied = self._copied_back()

    def release(self) -> None:
        """Let go of the copy on the device."""
        self._near = self._copied = None

    @property
    def device_bytes(self) -> int:
        """Bytes held on the device now."""
        return 0 if self._near is None else self._near.nbytes

    @property
    def host_bytes(self) -> int:
        """Bytes held in host memory."""
        return sum(self._sizes)

    def _copied_back(self) -> tuple[Tensor, Any]:
        shape, stride, dtype, device = self._like
        near = torch.empty_strided(shape, stride, dtype=dtype, device=device)
        pieces, parts = self._matched(near)
        return near, self._copies.copy(zip(parts, pieces, strict=True), near)

    def _matched(self, near: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The pieces in host memory and the parts of the tensor that they hold, as bytes; the last may be larger."""
        flat = near.as_strided((near.numel(),), (1,)).view(torch.uint8)
        ends = [sum(self._sizes[: index + 1]) for index in range(len(self._sizes))]
        parts = [flat[end - size : end] for size, end in zip(self._sizes, ends, strict=True)]
        return [piece[: part.numel()] for piece, part in zip(self._pieces, parts, strict=True)], parts


def piece_sizes(nbytes: int) -> list[int]:
    """Powers of two that add up to `nbytes` or at most 1/32 more.

    torch hands out page-locked memory in powers of two: a tensor of 295 MB in one piece would take 537.
    """
    sizes: list[int] = []
    left = nbytes
    while left > nbytes // LARGEST_WASTE:
        sizes.append(1 << (left.bit_length() - 1))
        left -= sizes[-1]
    if left:
        sizes.append(1 << (left - 1).bit_length())
    return sizes
