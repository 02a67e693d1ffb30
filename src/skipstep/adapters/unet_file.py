"""LoRA files of image models: which of the three layouts they have, and their ranks.

kohya's names flatten modules (`lora_unet_…_to_q.lora_down.weight`, `.lora_up.weight`, `.alpha`); diffusers keeps the
dots (`unet.….lora_A.weight`, `.lora.down.weight`, `.lora_linear_layer.down.weight`, or `_lora.down.weight` in
processors); PEFT's begin with `base_model.model.`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import AdapterError
from .config import MAX_SCALE
from .families import MAX_RANK
from .modules import Module
from .tensors import Tensor, TensorFile
from .unet_metadata import check_metadata
from .values import scalar

_MAX_UNET_RANK = 4 * MAX_RANK
_MODULE = r"([A-Za-z_][A-Za-z0-9_.]*?)"
_MATRIX = re.compile(
    _MODULE + r"(?:\.lora_(down|up|A|B)|\.lora\.(down|up)|\.lora_linear_layer\.(down|up)|_lora\.(down|up))\.weight",
    re.ASCII,
)
_OTHER = re.compile(_MODULE + r"\.(alpha|dora_scale|lora_magnitude_vector)(?:\.weight)?", re.ASCII)
_DOWN = ("down", "A")


@dataclass(frozen=True, kw_only=True)
class UNetFile:
    """A LoRA of an image model; an alpha that the file does not have is None, and loaders take the rank for it."""

    file: TensorFile
    family: str
    layout: str
    modules: tuple[Module, ...]


def read_unet_file(file: TensorFile) -> UNetFile:
    """The layout, modules and ranks of a LoRA file, of which only alphas are read.

    Raises:
        AdapterError: names the first tensor that belongs to none of the layouts, the module that is incomplete, or the
            field of diffusers' metadata that is refused.
    """
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    alphas: dict[str, str] = {}
    vectors: set[str] = set()
    for name, tensor in file.tensors.items():
        matrix = _MATRIX.fullmatch(name) if len(name) <= 256 else None
        if matrix is not None:
            half = downs if next(group for group in matrix.groups()[1:] if group) in _DOWN else ups
            if matrix[1] in half:
                raise AdapterError(f"tensor {name}: is a second one for {matrix[1]}; keep one")
            half[matrix[1]] = tensor
            continue
        other = _OTHER.fullmatch(name) if len(name) <= 256 else None
        if other is None:
            raise AdapterError(f"tensor {name[:120]!r}: is of no LoRA that is known; LoHa and LoKr files are refused")
        if other[2] == "alpha":
            alphas[other[1]] = name
        else:
            vectors.add(other[1])
    _check_complete(downs, ups, {*alphas, *vectors})
    modules = tuple(_module(file, name, downs[name], ups[name], alphas.get(name)) for name in sorted(downs))
    check_metadata(file.metadata, {module.rank for module in modules if module.rank is not None})
    return UNetFile(file=file, family="DoRA" if vectors else "LoRA", layout=_layout(modules), modules=modules)


def _check_complete(downs: dict[str, Tensor], ups: dict[str, Tensor], beside: set[str]) -> None:
    if not downs and not ups:
        raise AdapterError("tensors: there are none of a LoRA")
    halves = sorted(downs.keys() ^ ups.keys())
    if halves:
        missing = "up" if halves[0] in downs else "down"
        raise AdapterError(f"module {halves[0]}: has no {missing} matrix; {len(halves)} modules are incomplete")
    lost = sorted(beside - downs.keys())
    if lost:
        raise AdapterError(f"module {lost[0]}: has an alpha or a magnitude, and no matrices")


def _module(file: TensorFile, name: str, down: Tensor, up: Tensor, alpha_name: str | None) -> Module:
    if len(down.shape) not in (2, 4) or len(up.shape) not in (2, 4) or down.shape[0] != up.shape[1]:
        raise AdapterError(f"shape of {name}: {list(down.shape)} and {list(up.shape)} do not fit together")
    rank = down.shape[0]
    if not 1 <= rank <= _MAX_UNET_RANK:
        raise AdapterError(f"rank of {name}: must be 1..{_MAX_UNET_RANK}, got {rank}")
    alpha = None if alpha_name is None else scalar(file, alpha_name)
    if alpha is not None and not abs(alpha / rank) <= MAX_SCALE:
        raise AdapterError(f"alpha of {name}: must be finite, with alpha / rank of at most {MAX_SCALE:g}, got {alpha}")
    scale = None if alpha is None else alpha / rank
    return Module(name=name, rank=rank, alpha=alpha, scale=scale, inputs=down.shape[1], outputs=up.shape[0])


def _layout(modules: tuple[Module, ...]) -> str:
    kinds = {_layout_of(module.name) for module in modules}
    if len(kinds) > 1:
        raise AdapterError(
            f"tensors: are named as {' and '.join(sorted(kinds))} at once; the file is no LoRA of one tool"
        )
    return kinds.pop()


def _layout_of(module: str) -> str:
    if module.startswith(("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_")):
        return "kohya"
    return "peft" if module.startswith("base_model.model.") else "diffusers"
