"""The bytes of the tensors: their sha256, and whether all values are finite, without numpy."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import AdapterError
from .opening import open_regular
from .tensors import MIB, Tensor, TensorFile

# the byte with the sign and the top of the exponent, where the exponent is at its largest or near: NaN, Infinity, and
# what is beyond 1.7e38 of 8-bit exponents, or beyond 5e303 of float64
_TOP = {
    "F64": b"\x7f\xff",
    "F32": b"\x7f\xff",
    "BF16": b"\x7f\xff",
    "F16": b"\x7c\x7d\x7e\x7f\xfc\xfd\xfe\xff",
}
_WIDTH = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}


def digest(file: TensorFile) -> str:
    """The sha256 of the whole file, whose values are checked on the way.

    Raises:
        AdapterError: if a tensor has a NaN, an Infinity or, but in float16, a value so large that sums become one.
    """
    total = hashlib.sha256()
    with open_regular(file.path) as (opened, size):
        if size != file.bytes:
            raise AdapterError(f"{file.path.name}: changed while it was read")
        first = min((tensor.start for tensor in file.tensors.values()), default=size)
        total.update(opened.read(first))
        for name, tensor in file.tensors.items():
            for chunk in _chunks(opened, tensor):
                total.update(chunk)
                top = chunk[_WIDTH[tensor.dtype] - 1 :: _WIDTH[tensor.dtype]]
                if len(top.translate(None, _TOP[tensor.dtype])) != len(top):
                    raise AdapterError(f"tensor {name[:120]}: has a value that is NaN, infinite or beyond 1.7e38")
    return total.hexdigest()


def _chunks(opened: BinaryIO, tensor: Tensor) -> Iterator[bytes]:
    for start in range(tensor.start, tensor.stop, MIB):
        yield opened.read(min(MIB, tensor.stop - start))


def scalar(file: TensorFile, name: str) -> float:
    """The only value of a tensor.

    Raises:
        AdapterError: if it has another number of values.
    """
    tensor = file.tensors[name]
    if tensor.shape not in ((), (1,)):
        raise AdapterError(f"tensor {name[:120]}: must be one number, got shape {list(tensor.shape)}")
    with open_regular(file.path) as (opened, _):
        opened.seek(tensor.start)
        raw = opened.read(tensor.stop - tensor.start)
    if tensor.dtype == "F16":
        return float(struct.unpack("<e", raw)[0])
    return float(struct.unpack("<f", raw if tensor.dtype == "F32" else b"\0\0" + raw)[0])
