"""The configs that diffusers writes into LoRA files are read with the rules of those of language models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_drafts import Draft, packed
from peft import LoraConfig

from skipstep.adapters import inspect_adapter
from skipstep.errors import AdapterError

CONFIG = {
    **LoraConfig(r=2, lora_alpha=6, rank_pattern={"to_k": 4}, alpha_pattern={"to_k": 1}).to_dict(),
    "target_modules": ["to_q", "to_k"],
    "peft_type": "LORA",
}


def written(folder: Path, metadata: str | None) -> Path:
    """A LoRA of ranks 2 and 4."""
    draft = Draft(config={}, tensors={})
    for name, rank in (("to_q", 2), ("to_k", 4)):
        draft.put(f"unet.mid_block.{name}.lora_A.weight", rank, 8)
        draft.put(f"unet.mid_block.{name}.lora_B.weight", 8, rank)
    (folder / "x.safetensors").write_bytes(
        packed(draft.tensors, {"format": "pt"} | ({} if metadata is None else {"lora_adapter_metadata": metadata}))
    )
    return folder / "x.safetensors"


def test_what_diffusers_writes_is_accepted(tmp_path: Path) -> None:
    plain = inspect_adapter(written(tmp_path, None))
    text = json.dumps({f"unet.{name}": value for name, value in CONFIG.items()})
    info = inspect_adapter(written(tmp_path, text))
    assert (info.ranks, info.modules, info.layout) == ((2, 4), plain.modules, "diffusers")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unet.auto_mapping", {"base_model_class": "os"}, "unet.auto_mapping: .* is refused, it names Python classes"),
        ("unet.megatron_core", "os", "unet.megatron_core: 'os' is refused, it names a Python module"),
        ("unet.modules_to_save", ["conv_out"], "unet.modules_to_save: .* is refused"),
        ("unet.target_modules", "(a+)+$", "unet.target_modules: .* is a regular expression"),
        ("unet.target_modules", ["(a+)+$"], "unet.target_modules: .* is no plain module name"),
        ("unet.rank_pattern", {"(a+)+$": 2}, "unet.rank_pattern: .* is no plain module name"),
        ("unet.alpha_pattern", {"(a+)+$": 2}, "unet.alpha_pattern: .* is no plain module name"),
        ("unet.alpha_pattern", {"to_q": 1e9}, "unet.alpha_pattern: must be a number of -10000..10000"),
        ("unet.lora_alpha", 1e9, "unet.lora_alpha: must be a number of -10000..10000"),
        ("unet.lora_alpha", None, "unet.lora_alpha: must be a number"),
        ("unet.r", 10**6, "unet.r: is 1000000, and the tensors have 2, 4"),
        ("unet.r", True, "unet.r: is True, and the tensors have 2, 4"),
        ("unet.rank_pattern", {"to_k": 10**6}, "unet.rank_pattern: is 1000000, and the tensors have 2, 4"),
        ("unet.init_lora_weights", "pissa", "unet.init_lora_weights: 'pissa' is refused"),
        ("unet.peft_type", "IA3", "unet.peft_type: must be LORA, got IA3"),
        ("unet.no_such_field", 1, "unet.no_such_field: is no field that is known"),
        ("vae.r", 2, "'vae.r' is of none of unet"),
        ("r", 2, "'r' is of none of unet"),
    ],
)
def test_fields_that_would_do_more_are_refused(field: str, value: Any, message: str, tmp_path: Path) -> None:
    text = json.dumps({**{f"unet.{name}": own for name, own in CONFIG.items()}, field: value})
    with pytest.raises(AdapterError, match=f"^lora_adapter_metadata: {message}"):
        inspect_adapter(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is no JSON"), ("[]", "must be a JSON object"), ('{"unet.r": 2, "unet.r": 4}', "twice")]
)
def test_what_is_no_object_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=message):
        inspect_adapter(written(tmp_path, text))
