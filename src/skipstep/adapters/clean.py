"""The fresh config that PEFT is given instead of the adapter's own.

Every module is named, every rank is that of its tensors, and nothing else of the adapter's config gets through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import AdapterError
from .config import Config
from .families import MAX_RANK, PROMPTS
from .fits import Shapes
from .modules import Module
from .targets import by_module, names

MAX_PROMPT = 4096
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.\w{1,16}){0,3}", re.ASCII)


def clean_config(config: Config, modules: tuple[Module, ...], shapes: Mapping[str, Shapes]) -> dict[str, Any]:
    """What PEFT is to load the tensors with; plain enough for JSON."""
    kind = config.family.peft_type
    clean: dict[str, Any] = {"peft_type": kind, "task_type": "CAUSAL_LM", "inference_mode": True}
    if kind in PROMPTS:
        return {**clean, **_prompt(config, shapes[""]["prompt_embeddings"])}
    clean["target_modules"] = [module.name for module in modules]
    if kind in ("LORA", "LOHA", "LOKR"):
        largest = max(modules, key=lambda module: module.rank or 0)
        clean["r"] = largest.rank
        clean["lora_alpha" if kind == "LORA" else "alpha"] = _plain(largest.alpha)
        clean["rank_pattern"] = {m.name: m.rank for m in modules if m.rank != largest.rank}
        clean["alpha_pattern"] = {m.name: _plain(m.alpha) for m in modules if m.alpha != largest.alpha}
    if kind == "LORA":
        clean |= {"use_rslora": config.switch("use_rslora"), "use_dora": config.switch("use_dora"), "bias": "none"}
    elif kind == "ADALORA":
        start = config.whole("init_r", 1, MAX_RANK, 12)
        clean |= {"init_r": start, "target_r": start, "total_step": 1, "lora_alpha": _plain(modules[0].alpha)}
        clean["rank_pattern"] = dict(config.pattern("rank_pattern")) or None
    elif kind == "LOKR":
        clean["decompose_both"] = config.switch("decompose_both")
        clean["decompose_factor"] = config.whole("decompose_factor", -1, 65536, -1)
        _check_lokr(modules, shapes, both=clean["decompose_both"])
    elif kind == "IA3":
        clean["feedforward_modules"] = _feedforward(config, modules)
    elif kind == "OFT":
        clean |= {name: config.whole(name, 0, 65536, 0) for name in ("r", "oft_block_size")}
        clean |= {"coft": config.switch("coft"), "block_share": config.switch("block_share"), "bias": "none"}
        clean["eps"] = config.number("eps", 6e-5)
        clean["use_cayley_neumann"] = config.switch("use_cayley_neumann", default=True)
        if clean["use_cayley_neumann"]:
            clean["peft_version"] = _oft_version(config)
        clean["num_cayley_neumann_terms"] = config.whole("num_cayley_neumann_terms", 1, 64, 5)
    elif kind == "VERA":
        clean |= {"r": modules[0].rank, "d_initial": config.number("d_initial", 0.1), "bias": "none"}
        clean["projection_prng_key"] = config.whole("projection_prng_key", 0, 2**63 - 1, 0)
        clean["save_projection"] = config.switch("save_projection", default=True)
    return clean


def _plain(value: float | None) -> float | int | None:
    return int(value) if value is not None and value.is_integer() else value


def _oft_version(config: Config) -> str:
    """PEFT's version that wrote it: before 0.18 the same tensors meant another rotation."""
    version = config.fields.get("peft_version")
    found = _VERSION.fullmatch(version.partition("@")[0]) if isinstance(version, str) else None
    if found is None or (int(found[1]), int(found[2])) < (0, 18):
        raise AdapterError(
            f"peft_version: must be 0.18 or later for OFT, got {str(version)[:40]!r}; rotations were others before: "
            "train it anew"
        )
    return found[0]


def _check_lokr(modules: tuple[Module, ...], shapes: Mapping[str, Shapes], *, both: bool) -> None:
    """See that the halves are products where PEFT will make them products: with ranks below half their size."""
    for module in modules:
        for side, split in (("lokr_w1", both), ("lokr_w2", True)):
            found = shapes[module.name]
            size = found.get(side) or (found[f"{side}_a"][0], found[f"{side}_b"][1])
            if (split and (module.rank or 0) < max(size) / 2) == (side in found):
                raise AdapterError(f"r: a rank of {module.rank} does not lead to the tensors of {module.name}")


def _feedforward(config: Config, modules: tuple[Module, ...]) -> list[str]:
    given = config.fields.get("feedforward_modules")
    ends = names(given, "feedforward_modules") if given else ()
    meant = by_module(
        dict.fromkeys(ends, True), "feedforward_modules", modules=[m.name for m in modules], default=False
    )
    for module in modules:
        if meant[module.name] != (module.outputs is None):
            raise AdapterError(f"feedforward_modules: contradicts the shape of {module.name}.ia3_l")
    return [name for name, is_forward in meant.items() if is_forward]


def _prompt(config: Config, shape: tuple[int, ...]) -> dict[str, Any]:
    """The sizes of a soft prompt: (tokens, width), or for prefixes keys and values of all layers."""
    tokens, width = config.whole("num_virtual_tokens", 1, MAX_PROMPT), config.whole("token_dim", 1, 65536)
    layers = config.whole("num_layers", 1, 1024)
    config.whole("num_transformer_submodules", 1, 1, 1)
    heads = config.whole("num_attention_heads", 1, 1024)
    prefix = config.family.peft_type == "PREFIX_TUNING"
    if shape != (tokens, width * layers * 2 if prefix else width):
        raise AdapterError(f"num_virtual_tokens: {tokens} of {width} values are not the {list(shape)} of the tensor")
    sizes = {"num_virtual_tokens": tokens, "token_dim": width, "num_layers": layers, "num_attention_heads": heads}
    return {**sizes, "num_transformer_submodules": 1}
