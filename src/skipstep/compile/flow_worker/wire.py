"""What both processes say to each other: JSON with its length before it, and tensors in memory that both have."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from math import prod
from socket import socket
from typing import Any

import numpy as np

LONGEST = 256 * 2**20  # bytes of one message: SDXL's graph is 2 MiB
IDLE, COMPILING, RUNNING = 0, -1, -2  # what the worker is at; above 0, the number of the operator that it builds
DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "int32", "int64", "bool")}
_LENGTH = struct.Struct("!Q")
_AT = struct.Struct("=q")
_START = 64  # of the tensors; before it is what the worker is at
_ALIGNED = 64

Described = dict[str, Any]  # a tensor in the memory: "shape", "dtype" and "offset"


class WireError(ValueError):
    """A message that is not what was agreed on."""


def send(to: socket, message: dict[str, Any]) -> None:
    """Send one message."""
    body = json.dumps(message).encode()
    if len(body) > LONGEST:
        raise WireError(f"a message may have {LONGEST} bytes, this has {len(body)}")
    to.sendall(_LENGTH.pack(len(body)) + body)


def receive(of: socket) -> dict[str, Any] | None:
    """The next message; None if the other side ended before it was whole.

    Raises:
        WireError: if it is longer than any may be, or not a JSON object.
    """
    head = _exactly(of, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > LONGEST:
        raise WireError(f"a message may have {LONGEST} bytes, this announces {length}")
    body = _exactly(of, length)
    if len(body) < length:
        return None
    try:
        message = json.loads(body)
    except ValueError as error:
        raise WireError(f"a message of {length} bytes is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise WireError(f"a message must be a JSON object, got {type(message).__name__}")
    return message


def _exactly(of: socket, count: int) -> bytes:
    """So many bytes, or fewer if the other side ended."""
    read = bytearray()
    while len(read) < count:
        more = of.recv(min(count - len(read), 2**20))
        if not more:
            break
        read += more
    return bytes(read)


class Memory:
    """A file in memory that both processes map; whoever needs more makes it larger, and the other maps it anew."""

    def __init__(self, file: int) -> None:
        self._file = os.fdopen(file, "r+b", buffering=0)
        self._map = self._mapped(_START)

    def close(self) -> None:
        """Give the file back; what is mapped goes with this object."""
        self._file.close()

    @property
    def at(self) -> int:
        """What the worker is at."""
        return int(_AT.unpack_from(self._map)[0])

    @at.setter
    def at(self, value: int) -> None:
        _AT.pack_into(self._map, 0, value)

    def put(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[Described]:
        """Copy the arrays in, over those of before; where each is."""
        described = list(_laid_out(arrays))
        self._map = self._mapped(described[-1]["offset"] + arrays[-1].nbytes if described else _START)
        for array, one in zip(arrays, described, strict=True):
            self._view(one)[...] = array
        return described

    def get(self, described: Sequence[Described]) -> list[np.ndarray[Any, Any]]:
        """Copies of the arrays that the other side put in.

        Raises:
            WireError: if one is not of a known type or not within the memory.
        """
        self._map = self._mapped(_START)
        return [self._view(one).copy() for one in described]

    def _view(self, one: Described) -> np.ndarray[Any, Any]:
        dtype = DTYPES.get(one["dtype"])
        if dtype is None:
            raise WireError(f"a tensor's type must be one of {', '.join(DTYPES)}, got {one['dtype']!r}")
        shape, offset = tuple(map(int, one["shape"])), int(one["offset"])
        end = offset + prod(shape) * dtype.itemsize
        if offset < _START or min(shape, default=0) < 0 or end > len(self._map):
            raise WireError(f"a tensor lies at {offset} to {end} of {len(self._map)} bytes")
        return np.frombuffer(self._map, dtype, prod(shape), offset).reshape(shape)

    def _mapped(self, size: int) -> mmap.mmap:
        present = os.fstat(self._file.fileno()).st_size
        if present < size:
            self._file.truncate(size)
            present = size
        mapped = getattr(self, "_map", None)
        return mapped if mapped is not None and len(mapped) == present else mmap.mmap(self._file.fileno(), present)


def _laid_out(arrays: Sequence[np.ndarray[Any, Any]]) -> Iterator[Described]:
    offset = _START
    for array in arrays:
        yield {"shape": list(array.shape), "dtype": array.dtype.name, "offset": offset}
        offset += -(-array.nbytes // _ALIGNED) * _ALIGNED
