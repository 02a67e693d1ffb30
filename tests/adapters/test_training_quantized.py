"""QLoRA on the CPU: a LoRA that is trained over a base in 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_training_methods import answers
from tiny_training import base, chats, options, preferences, trained

from skipstep.adapters import base_of_folder, inspect_adapter
from skipstep.adapters.training import Dpo, Sft, Sora, TrainingFiles
from skipstep.errors import OptionError

__all__ = ["base"]
bitsandbytes = pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize("method", [Sft(), Sora(penalty=1.0), Dpo()], ids=["sft", "sora", "dpo"])
def test_an_adapter_of_a_base_in_4_bits_is_one_for_the_base(base: Path, tmp_path: Path, method: Any) -> None:
    data = (preferences if isinstance(method, Dpo) else chats)(tmp_path / "data.jsonl")
    files = TrainingFiles(base=base, data=data, out=tmp_path / "adapter")
    made = trained(files, options(method, steps=12, learning_rate=2e-2, quantize="nf4"))
    if isinstance(method, Dpo):
        assert made.measures["held out loss"] < 0.6
    else:
        assert made.measures["held out loss after"] < made.measures["held out loss before"] - 0.1
    info = inspect_adapter(made.out, base=base_of_folder(base))
    assert (info.family, info.warnings) == ("LoRA", ())
    assert not torch.allclose(answers(base, made.out), answers(base), atol=1e-2)


def test_the_base_really_is_in_4_bits(base: Path, tmp_path: Path) -> None:
    data = chats(tmp_path / "data.jsonl")
    before = [
        trained(
            TrainingFiles(base=base, data=data, out=tmp_path / str(quantize)),
            options(Sft(), steps=1, quantize=quantize),
        ).measures["held out loss before"]
        for quantize in (None, "nf4", "int8")
    ]
    assert len(set(before)) == 3
    assert before == [pytest.approx(before[0], rel=0.1)] * 3


def test_a_resumed_run_ends_in_the_same_bits(base: Path, tmp_path: Path) -> None:
    data, asked = chats(tmp_path / "data.jsonl"), options(Sft(), steps=5, quantize="nf4", checkpoint_every=2)
    unbroken, broken = (TrainingFiles(base=base, data=data, out=tmp_path / name) for name in ("unbroken", "broken"))
    trained(unbroken, asked)
    with pytest.raises(KeyboardInterrupt):
        trained(broken, asked, stop=2)
    trained(broken, asked, resume=True)
    weights = "adapter_model.safetensors"
    assert (broken.out / weights).read_bytes() == (unbroken.out / weights).read_bytes()


def test_other_quantizations_are_refused(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    with pytest.raises(OptionError, match="quantization must be one of nf4, int8, got 'int2'"):
        trained(files, options(Sft(), quantize="int2"))
