"""SoRA on the model of `skipstep prompt fetch --transformers`: trained, pruned, converted, and the same in PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipstep.adapters import base_of_folder, inspect_adapter
from skipstep.adapters.loop import LoopOptions, mean_loss
from skipstep.adapters.sora import SoraTraining, attach, rising_schedule, save_lora_folder, train_sora
from skipstep.promptllm import unpacked_model

STEPS = 10


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_sparse_adapter_is_the_same_in_peft(tmp_path: Path) -> None:
    folder = unpacked_model()
    if not (folder / "config.json").is_file():
        pytest.skip("needs the model of `skipstep prompt fetch --transformers`")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    text = "\n".join(topics[name] for name in sorted(topics))[:40_000]
    rows = torch.tensor(tokenizer(text)["input_ids"][: 64 * 64]).view(-1, 64)

    def batches() -> Iterator[dict[str, Tensor]]:
        for start in range(0, 2 * STEPS, 2):
            yield {"input_ids": rows[start : start + 2]}

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    held_out = [{"input_ids": rows[-4:]}]
    before = mean_loss(model, held_out)
    training = SoraTraining(
        loop=LoopOptions(steps=STEPS, learning_rate=3e-3, warm_up_steps=2),
        schedule=rising_schedule(40.0, steps=STEPS, stages=2),
    )
    state = train_sora(model, batches(), training)
    with attach(model, state), torch.no_grad():
        after = mean_loss(model, held_out)
        expected = model(rows[-4:]).logits
    assert after < before
    ranks = save_lora_folder(state, tmp_path / "sora", base_model="SmolLM2")
    assert len(ranks) == 210
    assert 1 < sum(ranks.values()) / len(ranks) < 7  # of 8: some gates are closed, and not all
    info = inspect_adapter(tmp_path / "sora", base=base_of_folder(folder))
    assert {module.scale for module in info.modules} == {1.0}
    loaded = PeftModel.from_pretrained(model, tmp_path / "sora").eval()
    with torch.no_grad():
        found = loaded(rows[-4:]).logits
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-5
