"""A tiny language model and adapters for it, where ComfyUI's user has theirs: random, so that only changes matter."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import peft
import torch
from tiny_folder import tiny_base, tiny_gguf
from transformers import AutoModelForCausalLM

FILE, FOLDER = "tiny.gguf", "tiny"
WARM, COOL, DORA = "warm", "more/cool", "dora"


def ensure_prompt_files(models: Path) -> Path:
    """`LLM/tiny.gguf`, `LLM/tiny` and three adapters in a `models` folder, made unless they are there."""
    if not (models / "prompt_adapters").is_dir():
        work = Path(tempfile.mkdtemp(dir=models))
        _write(work)
        for name in ("LLM", "prompt_adapters"):
            try:
                os.rename(work / name, models / name)
            except OSError:  # another process was faster
                shutil.rmtree(work / name)
        work.rmdir()
    return models


def _write(folder: Path) -> None:
    base = tiny_base(folder / "LLM" / FOLDER, hidden=64, context=2048)
    tiny_gguf(base, folder / "LLM" / FILE)
    for seed, (name, use_dora) in enumerate(((WARM, False), (COOL, False), (DORA, True))):
        write_adapter(base, folder / "prompt_adapters" / name, seed=seed, use_dora=use_dora)


def write_adapter(base: Path, folder: Path, *, seed: int, use_dora: bool = False) -> Path:
    """A LoRA as PEFT writes it, which changes every answer."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", use_dora=use_dora)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(str(folder))
    return folder
