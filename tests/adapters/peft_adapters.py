"""Adapters of all families, made by PEFT for a tiny Llama, that change its answers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from tiny_llm import WORDS, tiny_llama
from torch import Tensor

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEXT = {"task_type": "CAUSAL_LM"}
FAMILIES: dict[str, Any] = {
    "LoRA": lambda: peft.LoraConfig(r=4, target_modules=ALL, init_lora_weights=False, **TEXT),
    "LoRA of mixed ranks": lambda: peft.LoraConfig(
        r=4,
        target_modules=ALL,
        rank_pattern={"k_proj": 2, "model.layers.1.mlp.up_proj": 7},
        alpha_pattern={"q_proj": 3, "^model.layers.0.self_attn.o_proj": 32},
        init_lora_weights=False,
        **TEXT,
    ),
    "LoRA of one layer": lambda: peft.LoraConfig(
        r=4, target_modules=ALL, layers_to_transform=[1], init_lora_weights=False, **TEXT
    ),
    "rsLoRA": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear", init_lora_weights=False, **TEXT
    ),
    "DoRA": lambda: peft.LoraConfig(r=4, use_dora=True, target_modules=ALL, init_lora_weights=False, **TEXT),
    "AdaLoRA": lambda: peft.AdaLoraConfig(
        init_r=6, target_r=3, total_step=10, target_modules=ALL, init_lora_weights=False, **TEXT
    ),
    "LoHa": lambda: peft.LoHaConfig(r=4, target_modules=ALL, init_weights=False, **TEXT),
    "LoKr": lambda: peft.LoKrConfig(r=2, target_modules=ALL, init_weights=False, **TEXT),
    "LoKr of products": lambda: peft.LoKrConfig(
        r=2, alpha=5, decompose_both=True, decompose_factor=4, target_modules=ALL, init_weights=False, **TEXT
    ),
    "IA3": lambda: peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        init_ia3_weights=False,
        **TEXT,
    ),
    "OFT": lambda: peft.OFTConfig(r=0, oft_block_size=16, target_modules=["q_proj"], init_weights=False, **TEXT),
    "OFT of shared blocks": lambda: peft.OFTConfig(
        r=4, oft_block_size=0, block_share=True, target_modules=["q_proj", "v_proj"], init_weights=False, **TEXT
    ),
    "VeRA": lambda: peft.VeraConfig(r=8, target_modules=["q_proj", "o_proj"], init_weights=False, **TEXT),
    "prompt tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=8, **TEXT),
    "p-tuning": lambda: peft.PromptEncoderConfig(num_virtual_tokens=8, encoder_hidden_size=32, **TEXT),
    "prefix tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=8, **TEXT),
}


@contextmanager
def seeded() -> Iterator[None]:
    """A seed of its own, without PEFT 0.21's calls of what transformers 5.23 renamed being errors."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        torch.manual_seed(7)
        yield


def make_adapter(name: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """A folder as PEFT writes it, of random weights."""
    with seeded():
        model = peft.get_peft_model(tiny_llama(std=0.2), FAMILIES[name]())
        for parameter in model.parameters():
            if parameter.requires_grad:  # some families begin as the base model
                parameter.data.add_(0.1 * torch.randn_like(parameter))
                parameter.data = parameter.data.to(dtype)
        model.save_pretrained(str(folder))
    return folder


def load_adapter(folder: Path) -> Any:
    """The tiny Llama with an adapter, as PEFT loads it."""
    with seeded():
        return peft.PeftModel.from_pretrained(tiny_llama(std=0.2), str(folder)).eval()


def answers(folder: Path | None) -> Tensor:
    """Logits of the tiny Llama with an adapter that PEFT loads."""
    model = tiny_llama(std=0.2) if folder is None else load_adapter(folder)
    words = torch.randint(WORDS, (3, 12), generator=torch.Generator().manual_seed(1))
    with seeded(), torch.no_grad():
        return model(words).logits
