"""Each method on a tiny Llama: something is learned, and what is written is sound and is what was learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tiny_training import base, chats, of_libraries, options, preferences, trained
from torch import Tensor
from transformers import AutoModelForCausalLM

from skipstep.adapters import base_of_folder, inspect_adapter
from skipstep.adapters.crash import plug, read_outer_layers
from skipstep.adapters.training import Dpo, Mezo, Offsite, Sft, Sora, TrainingFiles

__all__ = ["base"]
WORDS = torch.randint(250, (2, 9), generator=torch.Generator().manual_seed(3))


def answers(folder: Path, adapter: Path | None = None) -> Tensor:
    """Logits of the base, or of the base with an adapter that PEFT loads, whose own tokens are left out."""
    with of_libraries(), torch.no_grad():
        model: Any = AutoModelForCausalLM.from_pretrained(str(folder))
        if adapter is not None:
            model = peft.PeftModel.from_pretrained(model, str(adapter))
        return model.eval()(WORDS).logits[:, -WORDS.shape[1] :]


def files(base: Path, folder: Path, *, preferred: bool = False) -> TrainingFiles:
    data = (preferences if preferred else chats)(folder / "data.jsonl")
    return TrainingFiles(base=base, data=data, out=folder / "adapter")


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (Sft(), {"steps": 12}),
        (Mezo(), {"steps": 60, "learning_rate": 5e-3}),
        (Sora(penalty=3.0), {"steps": 20, "learning_rate": 2e-2}),
    ],
    ids=["sft", "mezo", "sora"],
)
def test_a_lora_is_learned_and_written(base: Path, tmp_path: Path, method: Any, fields: dict[str, Any]) -> None:
    made = trained(files(base, tmp_path), options(method, **fields))
    assert (made.examples, made.held_out, made.cut, made.family) == (22, 2, 0, "LoRA")
    assert made.measures["held out loss after"] < made.measures["held out loss before"] - 0.1
    info = inspect_adapter(made.out, base=base_of_folder(base))
    assert ({module.scale for module in info.modules}, info.warnings) == ({1.0}, ())
    assert sorted(file.name for file in made.out.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "skipstep.json",
    ]
    assert not torch.allclose(answers(base, made.out), answers(base), atol=1e-2)
    assert sorted(tmp_path.iterdir()) == [made.out, tmp_path / "data.jsonl"]


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "adalora"])
def test_what_is_written_is_what_was_measured(base: Path, tmp_path: Path, kind: str) -> None:
    """A second run whose base already has the adapter merged begins where the first one ended."""
    first = trained(files(base, tmp_path), options(Sft(kind=kind), steps=8, alpha=12.0))
    with of_libraries():
        model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base)), str(first.out))
        merged = model.merge_and_unload()
        merged.save_pretrained(str(tmp_path / "merged"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "merged" / name).write_bytes((base / name).read_bytes())
    again = TrainingFiles(base=tmp_path / "merged", data=tmp_path / "data.jsonl", out=tmp_path / "second")
    second = trained(again, options(Sft(), steps=1))
    assert second.measures["held out loss before"] == pytest.approx(first.measures["held out loss after"], abs=1e-5)


def test_dpo_makes_the_better_answer_likelier(base: Path, tmp_path: Path) -> None:
    made = trained(files(base, tmp_path, preferred=True), options(Dpo(), steps=12, learning_rate=2e-2))
    assert made.measures["held out loss"] < math.log(2) - 0.1  # log 2 is that of the base
    assert made.measures["held out accuracy"] == 1.0
    assert inspect_adapter(made.out, base=base_of_folder(base)).warnings == ()
    assert not torch.allclose(answers(base, made.out), answers(base), atol=1e-2)


def test_sora_closes_gates(base: Path, tmp_path: Path) -> None:
    dense = trained(files(base, tmp_path), options(Sora(penalty=0.01), steps=20, learning_rate=2e-2))
    sparse = TrainingFiles(base=base, data=tmp_path / "data.jsonl", out=tmp_path / "sparse")
    ranks = trained(sparse, options(Sora(penalty=5.0), steps=20, learning_rate=2e-2)).measures["average rank"]
    assert 0 < ranks < dense.measures["average rank"] <= 4


def test_outer_layers_gain_in_the_full_model(tmp_path: Path) -> None:
    from tiny_training import tiny_base

    folder = tiny_base(tmp_path / "base", layers=5)
    method = Offsite(keep=2, bottom=1, top=1)
    made = trained(files(folder, tmp_path), options(method, steps=20, learning_rate=3e-3))
    assert made.measures["layers of the emulator"] == 4
    assert made.measures["held out loss plugged"] < made.measures["held out loss before"] - 0.1
    outer = read_outer_layers(made.out / "outer_layers.safetensors")
    assert (sorted(outer.layers), outer.total) == ([0, 4], 5)
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder)).eval()
    with torch.no_grad(), plug(model, outer):
        plugged = model(WORDS).logits
    assert not torch.allclose(plugged, answers(folder), atol=1e-2)


def test_half_precision_when_written(base: Path, tmp_path: Path) -> None:
    half = trained(files(base, tmp_path), options(Sft(), dtype="float16"))
    single = TrainingFiles(base=base, data=tmp_path / "data.jsonl", out=tmp_path / "single")
    trained(single, options(Sft()))
    assert half.bytes < 0.6 * inspect_adapter(single.out).bytes
    near, exact = answers(base, half.out), answers(base, single.out)
    assert not torch.equal(near, exact)
    assert (near - exact).abs().max() < 2e-3 * exact.abs().max()
