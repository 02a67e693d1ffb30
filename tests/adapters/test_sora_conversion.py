"""A trained SoRA as a PEFT folder: the same outputs, with a scale of 1 in every module."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_llm import batches, language, sentences, tiny_llama
from torch import Tensor

from skipstep.adapters.loop import LoopOptions
from skipstep.adapters.sora import (
    SoraState,
    SoraTraining,
    attach,
    lora_tensors,
    pruned,
    rising_schedule,
    save_lora_folder,
    train_sora,
)
from skipstep.errors import AdapterError, OptionError, OutputError

LANGUAGE = language(1)
IDS = sentences(LANGUAGE, count=4, seed=500)
# peft 0.21.2 asks transformers 5.23 by the old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
EMPTIED = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def trained() -> SoraState:
    """A sparse state, one module of which has no gate left."""
    training = SoraTraining(
        loop=LoopOptions(steps=40, learning_rate=1e-2, warm_up_steps=5), schedule=rising_schedule(8.0, steps=40)
    )
    state = train_sora(tiny_llama(), batches(LANGUAGE, count=40), training)
    factors = state.modules[EMPTIED]
    return replace(state, modules={**state.modules, EMPTIED: replace(factors, gate=torch.zeros_like(factors.gate))})


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(IDS).logits  # type: ignore[no-any-return]


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_converted_adapter_gives_the_same_logits(
    trained: SoraState, tmp_path: Path, dtype: torch.dtype, limit: float
) -> None:
    model, state = tiny_llama(dtype=dtype), trained.to(dtype)
    base = logits(model)
    with attach(model, state):
        expected = logits(model)
    with attach(model, pruned(state)):
        assert relative(logits(model), expected) <= limit
    assert relative(base, expected) > 0.1
    ranks = save_lora_folder(state, tmp_path, base_model="tiny", dtype=dtype)
    loaded = PeftModel.from_pretrained(model, tmp_path).eval()
    assert relative(logits(loaded), expected) <= limit
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in loaded.named_modules()
        if hasattr(module, "lora_A")
    }
    assert {name: module.r["default"] for name, module in layers.items()} == {k: r for k, r in ranks.items() if r}
    assert {module.scaling["default"] for module in layers.values()} == {1.0}
    assert len(set(ranks.values())) > 3  # the patterns are needed


def test_zero_gates_are_dropped_and_empty_modules_left_out(trained: SoraState, tmp_path: Path) -> None:
    smaller = pruned(trained)
    assert smaller.ranks() == trained.ranks()
    assert all(factors.gate.shape[0] == factors.rank for factors in smaller.modules.values())
    assert smaller.modules[EMPTIED].down.shape == (0, 64)
    ranks = save_lora_folder(trained, tmp_path, base_model="tiny")
    assert ranks[EMPTIED] == 0
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert len(stored) == 2 * sum(rank > 0 for rank in ranks.values())
    assert not any(EMPTIED in name for name in stored)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(name for name, rank in ranks.items() if rank)
    assert config["lora_alpha"] == config["r"] == max(ranks.values())
    assert config["alpha_pattern"] == config["rank_pattern"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_the_product_is_rounded_once(trained: SoraState) -> None:
    name = next(name for name, rank in trained.ranks().items() if rank)
    factors = pruned(trained).modules[name]
    stored = lora_tensors(trained, dtype=torch.bfloat16)[f"base_model.model.{name}.lora_B.weight"]
    assert torch.equal(stored, (factors.up.double() * factors.gate.double() * 2.0).bfloat16())
    assert not torch.equal(stored, factors.up.bfloat16() * factors.gate.bfloat16() * 2.0)


def test_an_adapter_without_gates_cannot_be_written(trained: SoraState, tmp_path: Path) -> None:
    empty = replace(
        trained,
        modules={k: replace(v, gate=torch.zeros_like(v.gate)) for k, v in trained.modules.items()},
    )
    with pytest.raises(AdapterError, match="every gate is zero, so there is no LoRA to write"):
        save_lora_folder(empty, tmp_path / "adapter", base_model="tiny")
    assert not (tmp_path / "adapter").exists()
    with pytest.raises(OptionError, match=r"dtype must be one of torch.float32, .*, got torch.int8"):
        lora_tensors(trained, dtype=torch.int8)


def test_a_place_that_cannot_be_written_is_named(trained: SoraState, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_lora_folder(trained, tmp_path / "file", base_model="tiny")


def test_every_module_gives_the_same_in_float64(trained: SoraState) -> None:
    # a Llama's norms are in float32 and would hide differences of a float64 model
    state = trained.to(torch.float64)
    tensors = lora_tensors(state, dtype=torch.float64)
    for name, factors in state.modules.items():
        if factors.rank == 0:
            continue
        x = torch.randn(20, factors.down.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = ((x @ factors.down.T) * factors.gate) @ factors.up.T * state.scale
        a, b = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        assert relative(x @ a.T @ b.T, expected) <= 1e-12
        assert relative(x @ a.T @ b[:, torch.arange(len(a)) - 1].T, expected) > 1e-2  # components are told apart
