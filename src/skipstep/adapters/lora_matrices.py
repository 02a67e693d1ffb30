"""The matrices of a LoRA as float32, with the scale in B: what adds B A x to a layer, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import AdapterError, MissingExtraError
from .families import FAMILIES
from .folder import WEIGHTS
from .opening import open_regular
from .tensors import TensorFile, read_header

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .inspection import AdapterInfo

FOLDABLE = tuple(family.name for family in FAMILIES if family.is_lora or family.name == "AdaLoRA")


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """`a` is (rank, inputs), `b` is (outputs, rank) and has the scale in it."""

    module: str
    a: NDArray[numpy.float32]
    b: NDArray[numpy.float32]


def folded(info: AdapterInfo) -> Iterator[Matrices]:
    """The matrices of each module in the order of `info.modules`.

    The scale, and AdaLoRA's E (Zhang et al. 2023, arXiv:2303.10512, eq. 3), are multiplied in float64 and rounded once.

    Raises:
        AdapterError: if the adapter is no LoRA, rsLoRA or AdaLoRA of a language model, or the file changed.
        MissingExtraError: without numpy.
    """
    if info.family not in FOLDABLE or not info.config:
        kind = f"{info.family} of a language model" if info.config else f"{info.family} of an image model"
        raise AdapterError(f"family: {kind} cannot be written as plain matrices; only {', '.join(FOLDABLE)} can")
    file = read_header(info.path / WEIGHTS)
    if file.bytes != info.bytes:
        raise AdapterError(f"{WEIGHTS}: changed since it was inspected; inspect it again")
    end = "" if info.family == "AdaLoRA" else ".weight"
    for module in info.modules:
        name = f"base_model.model.{module.name}"
        a, b = (_read(file, f"{name}.lora_{half}{end}") for half in "AB")
        columns = b.astype("f8") * (1.0 if module.scale is None else module.scale)
        if info.family == "AdaLoRA":
            columns *= _read(file, f"{name}.lora_E")[:, 0]
        yield Matrices(module=module.name, a=a, b=columns.astype(b.dtype))


def _read(file: TensorFile, name: str) -> NDArray[numpy.float32]:
    try:
        import numpy
    except ImportError as error:
        raise MissingExtraError("writing adapters needs numpy: pip install 'skipstep[prompt]'") from error
    tensor = file.tensors.get(name)
    if tensor is None:
        raise AdapterError(f"tensor {name}: is gone since the file was inspected; inspect it again")
    with open_regular(file.path) as (opened, _):
        opened.seek(tensor.start)
        raw = opened.read(tensor.stop - tensor.start)
    if tensor.dtype == "BF16":  # the upper half of a float32
        values = (numpy.frombuffer(raw, "<u2").astype(numpy.uint32) << 16).view(numpy.float32)
    else:
        values = numpy.frombuffer(raw, "<f4" if tensor.dtype == "F32" else "<f2").astype(numpy.float32)
    return values.reshape(tensor.shape)
