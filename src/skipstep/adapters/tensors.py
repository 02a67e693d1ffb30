"""The header of a safetensors file, read by ourselves: names, types and shapes, and where the bytes lie.

The file is a length of 8 bytes, a JSON of that length, and the bytes of the tensors one after another
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from .header_text import walk
from .opening import open_regular

MIB = 2**20
_PAIRS = json.JSONDecoder(object_pairs_hook=list)
_FIELDS = ("data_offsets", "dtype", "shape")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a file may have: its bytes, those of its header, the number of tensors, and types with their widths."""

    file: int
    header: int
    tensors: int
    widths: Mapping[str, int]


_FLOATS = {"F32": 4, "F16": 2, "BF16": 2}
ADAPTER_LIMITS = Limits(file=2048 * MIB, header=8 * MIB, tensors=10_000, widths=_FLOATS)
TRAINED_LIMITS = Limits(file=8192 * MIB, header=8 * MIB, tensors=10_000, widths={**_FLOATS, "F64": 8})
_OTHERS = {"F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
BASE_LIMITS = Limits(file=65536 * MIB, header=32 * MIB, tensors=100_000, widths={**_FLOATS, **_OTHERS})


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of a file; `start` and `stop` are bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """What a header says; tensors are in the order of their bytes."""

    path: Path
    bytes: int
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def parameters(self) -> int:
        """The number of all values."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


def read_header(path: Path, limits: Limits = ADAPTER_LIMITS) -> TensorFile:
    """The header of a safetensors file; the tensors' bytes are not read.

    Raises:
        AdapterError: if the file is too large, damaged, not made as the format has it, or has other types.
    """
    with open_regular(path) as (file, size):
        if size > limits.file:
            raise AdapterError(f"{path.name}: has {size} bytes; at most {limits.file // MIB} MiB are allowed")
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= size - 8:
            raise AdapterError(f"{path.name}: is no safetensors file or was cut off; get it again")
        if length > limits.header:
            raise AdapterError(f"{path.name}: has a header of {length} bytes; at most {limits.header} are allowed")
        raw = file.read(length)
    try:
        entries, metadata = walk(raw.decode("utf-8"), limits.tensors)
        tensors = _placed(entries, limits.widths, 8 + length, size)
    except UnicodeDecodeError as error:
        raise AdapterError(f"{path.name}: the header is not UTF-8 at byte {error.start}; get the file again") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise AdapterError(f"{path.name}: the header is no JSON; get the file again") from error
    except AdapterError as error:
        raise AdapterError(f"{path.name}: {error}") from error
    return TensorFile(path=path, bytes=size, tensors=tensors, metadata=metadata)


def _placed(entries: dict[str, str], widths: Mapping[str, int], data: int, size: int) -> dict[str, Tensor]:
    """The tensors in the order of their bytes, which must fill the file from `data` to `size` without a gap."""
    found = sorted(_tensors(entries, widths), key=lambda item: (item[1].start, item[1].stop))
    end = 0
    for name, tensor in found:
        if tensor.start != end:
            raise AdapterError(f"the offsets of {name[:80]} leave a gap or overlap; get the file again")
        end = tensor.stop
    if data + end != size:
        raise AdapterError(f"has {size - data} bytes of tensors, the header names {end}; trailing or missing bytes")
    return {
        name: Tensor(dtype=tensor.dtype, shape=tensor.shape, start=data + tensor.start, stop=data + tensor.stop)
        for name, tensor in found
    }


def _tensors(entries: dict[str, str], widths: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    for name, text in entries.items():
        pairs = _PAIRS.decode(text)
        fields: dict[str, Any] = dict(pairs)
        if sorted(key for key, _ in pairs) != list(_FIELDS):
            raise AdapterError(f"the entry of {name[:80]} must have {', '.join(_FIELDS)} once each, and no more")
        dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
        if dtype not in widths:
            raise AdapterError(f"dtype {str(dtype)[:20]} of {name[:80]} is not one of {', '.join(widths)}")
        if not (_sizes(shape) and len(shape) <= 8 and _sizes(offsets) and len(offsets) == 2):
            raise AdapterError(f"shape or data_offsets of {name[:80]} are not sizes")
        if offsets[1] - offsets[0] != math.prod(shape) * widths[dtype]:
            raise AdapterError(f"data_offsets of {name[:80]} do not have the bytes of {dtype} {shape}")
        yield name, Tensor(dtype=dtype, shape=tuple(shape), start=offsets[0], stop=offsets[1])


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)
