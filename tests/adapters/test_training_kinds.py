"""All kinds of adapters that PEFT trains: learned, written in our form, and accepted for the base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_training_methods import answers
from tiny_training import base, chats, options, trained

from skipstep.adapters import base_of_folder, inspect_adapter
from skipstep.adapters.families import FAMILIES
from skipstep.adapters.training import KINDS, Dpo, Sft, TrainingFiles
from skipstep.errors import OptionError

__all__ = ["base"]
NAMES = {
    "lora": "LoRA",
    "rslora": "LoRA",  # its scale is in B
    "dora": "DoRA",
    "adalora": "LoRA",  # of the ranks that are left
    "loha": "LoHa",
    "lokr": "LoKr",
    "ia3": "IA3",
    "oft": "OFT",
    "vera": "VeRA",
    "prompt-tuning": "prompt tuning",
    "p-tuning": "p-tuning",
    "prefix-tuning": "prefix tuning",
}


def test_there_is_a_kind_for_each_family() -> None:
    assert set(NAMES) == set(KINDS)
    assert {family.name for family in FAMILIES} == {*NAMES.values(), "rsLoRA", "AdaLoRA"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_learned_and_written(base: Path, tmp_path: Path, kind: str) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    made = trained(files, options(Sft(kind=kind), steps=12, learning_rate=3e-2))
    assert made.family == NAMES[kind]
    assert made.measures["held out loss after"] < made.measures["held out loss before"]
    info = inspect_adapter(files.out, base=base_of_folder(base))
    assert info.warnings == ()
    config = json.loads((files.out / "adapter_config.json").read_text())
    assert str(base) not in json.dumps(config)
    assert not torch.allclose(answers(base, files.out), answers(base), atol=1e-3)


def test_adalora_gives_ranks_away(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    trained(files, options(Sft(kind="adalora"), steps=20, learning_rate=3e-2))
    ranks = [module.rank or 0 for module in inspect_adapter(files.out).modules]
    assert 4 * 12 <= sum(ranks) < 4 * 14 + 6  # 4 for each of 14 modules, of 6 at the beginning
    assert len(set(ranks)) > 1


def test_modules_are_those_that_are_named(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    trained(files, options(Sft(), targets=("q_proj", "down_proj")))
    names = {module.name.split(".")[-1] for module in inspect_adapter(files.out).modules}
    assert names == {"q_proj", "down_proj"}
    for name, message in (("qkv", "no linear module is called 'qkv'; this model has .*q_proj"), ("lm_head", "scores")):
        with pytest.raises(OptionError, match=message):
            trained(TrainingFiles(base=base, data=files.data, out=tmp_path / "b"), options(Sft(), targets=(name,)))


def test_blocks_of_oft_must_fit(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    with pytest.raises(OptionError, match=r"rank must divide the 32 inputs of model.layers.0.*proj for oft, got 5"):
        trained(files, options(Sft(kind="oft"), rank=5))


def test_kinds_that_there_are_not() -> None:
    with pytest.raises(OptionError, match="kind must be one of lora, rslora, .*, got 'lora2'"):
        options(Sft(kind="lora2"))
    with pytest.raises(OptionError, match="targets are for adapters of modules; prompts have none"):
        options(Sft(kind="prefix-tuning"), targets=("q_proj",))
    with pytest.raises(OptionError, match="kind must be one of lora, .*vera for dpo, got 'p-tuning'"):
        options(Dpo(kind="p-tuning"))
