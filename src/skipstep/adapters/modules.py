"""The adapted layers: their ranks as the tensors have them, and the scales that the config gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import AdapterError
from .config import MAX_SCALE, Config, bounded, root_or_rank
from .families import MAX_RANK
from .fits import Fit
from .targets import by_module


@dataclass(frozen=True, kw_only=True)
class Module:
    """One adapted layer. `scale` is what the product of its matrices is multiplied by; None where there is none."""

    name: str
    rank: int | None
    alpha: float | None
    scale: float | None
    inputs: int | None
    outputs: int | None


def modules_of(config: Config, fits: Mapping[str, Fit]) -> tuple[Module, ...]:
    """The layers with their ranks and scales.

    Raises:
        AdapterError: if a rank of the config is not that of the tensors, or an alpha or a scale is out of range.
    """
    family = config.family
    ranks: dict[str, int | None] = {name: fit.rank for name, fit in fits.items()}
    alphas: dict[str, float | None] = dict.fromkeys(fits)
    scales: dict[str, float | None] = dict.fromkeys(fits)
    if family.peft_type in ("LORA", "LOHA", "LOKR"):
        field = "lora_alpha" if family.peft_type == "LORA" else "alpha"
        stated = _stated_ranks(config, fits)
        alphas.update(by_module(config.pattern("alpha_pattern"), "alpha_pattern", modules=fits, default=None))
        for name, rank in stated.items():
            alpha = config.number(field, 8) if alphas[name] is None else bounded(alphas[name], "alpha_pattern")
            ranks[name], alphas[name] = rank, alpha
            scales[name] = alpha / root_or_rank(rank, stabilised=family.name == "rsLoRA")
    elif family.peft_type == "ADALORA":
        start = _check_adalora(config, fits)
        alpha = config.number("lora_alpha", 8)
        # PEFT's own: an alpha of 0 or less stands for the rank, and ranks are those before pruning
        scale = (alpha if alpha > 0 else float(start)) / (start + 1e-5)
        alphas, scales = dict.fromkeys(fits, alpha), dict.fromkeys(fits, scale)
    elif family.peft_type == "VERA":
        rank = config.whole("r", 1, MAX_RANK, 256)
        _check_equal("r", {name: (rank, fit.rank) for name, fit in fits.items()})
    elif family.peft_type == "OFT":
        _check_oft(config, fits)
    for name, value in scales.items():
        if value is not None and abs(value) > MAX_SCALE:
            raise AdapterError(f"scale of {name}: must be -{MAX_SCALE:g}..{MAX_SCALE:g}, got {value:g}")
    return tuple(
        Module(
            name=name,
            rank=ranks[name],
            alpha=alphas[name],
            scale=scales[name],
            inputs=fits[name].inputs,
            outputs=fits[name].outputs,
        )
        for name in sorted(fits)
    )


def _stated_ranks(config: Config, fits: Mapping[str, Fit]) -> dict[str, int]:
    """The rank of each module as the config has it; tensors that have one must agree."""
    usual = config.whole("r", 1, MAX_RANK, 8)
    found: dict[str, Any] = by_module(config.pattern("rank_pattern"), "rank_pattern", modules=fits, default=usual)
    for name, rank in found.items():
        if type(rank) is not int or not 1 <= rank <= MAX_RANK:
            raise AdapterError(f"rank_pattern: must have ranks of 1..{MAX_RANK}, got {str(rank)[:80]} for {name}")
    _check_equal("rank_pattern" if config.pattern("rank_pattern") else "r", {n: (found[n], fits[n].rank) for n in fits})
    return found


def _check_equal(field: str, ranks: Mapping[str, tuple[int, int | None]]) -> None:
    for name, (stated, found) in ranks.items():
        if found is not None and stated != found:
            raise AdapterError(f"{field}: gives {name} rank {stated}, and its tensors have rank {found}")


def _check_adalora(config: Config, fits: Mapping[str, Fit]) -> int:
    """The rank before pruning, of which `rank_pattern` says for each module which are left."""
    start = config.whole("init_r", 1, MAX_RANK, 12)
    left = config.pattern("rank_pattern")
    for name, kept in left.items():
        if name.removesuffix(".lora_E") not in fits or not name.endswith(".lora_E"):
            raise AdapterError(f"rank_pattern: names {name[:80]!r}, which is no lora_E of the adapter")
        if not isinstance(kept, list) or len(kept) != start or not all(isinstance(one, bool) for one in kept):
            raise AdapterError(f"rank_pattern: must have {start} times true or false (init_r) for {name}")
    _check_equal(
        "rank_pattern" if left else "init_r",
        {name: (sum(left.get(f"{name}.lora_E", [1] * start)), fit.rank) for name, fit in fits.items()},
    )
    return start


def _check_oft(config: Config, fits: Mapping[str, Fit]) -> None:
    blocks, size = config.whole("r", 0, 65536, 0), config.whole("oft_block_size", 0, 65536, 32)
    if (blocks == 0) == (size == 0):
        raise AdapterError(f"oft_block_size: one of r and oft_block_size must be 0, got {blocks} and {size}")
    if blocks and not config.switch("block_share"):
        _check_equal("r", {name: (blocks, fit.rank) for name, fit in fits.items()})
    for name, fit in fits.items():
        if size and fit.inputs and fit.rank and fit.inputs != fit.rank * size:
            raise AdapterError(f"oft_block_size: is {size}, and the blocks of {name} have {fit.inputs // fit.rank}")
