"""A merged copy of the base model answers as the base with the adapter does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from adapter_drafts import packed
from peft_adapters import FAMILIES, answers, make_adapter, seeded
from safetensors.torch import load_file
from tiny_llm import WORDS, tiny_llama
from torch import Tensor
from transformers import AutoModelForCausalLM

from skipstep.adapters import AdapterInfo, base_of_folder, inspect_adapter, write_canonical
from skipstep.adapters.merged import write_merged
from skipstep.adapters.peft_model import with_adapter
from skipstep.cli import main
from skipstep.errors import AdapterError, OutputError

PROMPTS = ("prompt tuning", "p-tuning", "prefix tuning")
WORDS_READ = torch.randint(WORDS, (3, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny_llama(std=0.2).save_pretrained(str(folder))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")
    return folder


def logits(model: Any) -> Tensor:
    with seeded(), torch.no_grad():
        return model(WORDS_READ).logits  # type: ignore[no-any-return]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in PROMPTS])
def test_a_merged_model_answers_as_the_adapted_one(name: str, base: Path, tmp_path: Path) -> None:
    made, before = make_adapter(name, tmp_path / "made"), contents(base)
    info = inspect_adapter(made, base=base_of_folder(base))
    write_merged(info, tmp_path / "out", base=base)
    assert contents(base) == before
    assert set(contents(tmp_path / "out")) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    adapted, plain = answers(made), logits(tiny_llama(std=0.2))
    assert float((adapted - plain).abs().max()) > 0.5
    assert float((logits(merged) - adapted).abs().max()) <= 3e-5 * float(adapted.abs().max())
    # in float64, where only the rounding of the merged weights is left and not that of the sums
    exact = logits(with_adapter(tiny_llama(std=0.2), info).double())
    assert float((logits(merged.double()) - exact).abs().max()) <= 2e-5


@pytest.mark.parametrize("name", PROMPTS)
def test_what_is_no_change_of_weights_cannot_be_merged(name: str, base: Path, tmp_path: Path) -> None:
    info = inspect_adapter(make_adapter(name, tmp_path / "made"), base=base_of_folder(base))
    with pytest.raises(AdapterError, match=f"^family: {name} stands before the text and cannot be merged"):
        write_merged(info, tmp_path / "out", base=base)
    assert not (tmp_path / "out").exists()


def test_a_lora_of_an_image_model_cannot_be_merged(base: Path, tmp_path: Path) -> None:
    values = ("F32", (4, 4), b"\0" * 64)
    names = (f"lora_unet_mid_to_q.lora_{half}.weight" for half in ("down", "up"))
    (tmp_path / "x.safetensors").write_bytes(packed(dict.fromkeys(names, values)))
    with pytest.raises(AdapterError, match="^family: LoRA of an image model cannot be merged"):
        write_merged(inspect_adapter(tmp_path / "x.safetensors"), tmp_path / "out", base=base)


def test_types_of_the_base_stay(tmp_path: Path) -> None:
    tiny_llama(std=0.2).to(torch.bfloat16).save_pretrained(str(tmp_path / "half"))
    made = make_adapter("LoRA", tmp_path / "made")
    write_merged(
        inspect_adapter(made, base=base_of_folder(tmp_path / "half")), tmp_path / "out", base=tmp_path / "half"
    )
    before = load_file(tmp_path / "half" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert {name: value.dtype for name, value in after.items()} == dict.fromkeys(before, torch.bfloat16)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    tensors = load_file(made / "adapter_model.safetensors")
    for name, value in before.items():
        pair = [tensors.get(f"base_model.model.{name.removesuffix('weight')}lora_{half}.weight") for half in "BA"]
        if pair[0] is None or pair[1] is None:
            assert torch.equal(after[name], value)
        else:  # rounded to bfloat16 once: half of its last of 8 bits
            exact = value.float() + pair[0] @ pair[1] * (8 / 4)
            assert bool(((after[name].float() - exact).abs() <= exact.abs() * 2**-8).all())


def test_files_that_changed_since_and_places_that_are_taken(base: Path, tmp_path: Path) -> None:
    info = inspect_adapter(make_adapter("LoRA", tmp_path / "made"), base=base_of_folder(base))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(OutputError, match="is not empty"):
        write_merged(info, tmp_path / "out", base=base)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    file = tmp_path / "made" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(AdapterError, match="changed since it was inspected"):
        write_merged(info, tmp_path / "new", base=base)


def test_tensors_that_peft_would_leave_out_are_seen(base: Path, tmp_path: Path) -> None:
    info = inspect_adapter(make_adapter("LoRA", tmp_path / "made"), base=base_of_folder(base))
    fewer = {**info.config, "target_modules": list(info.config["target_modules"])[1:]}
    other = AdapterInfo(**{**vars(info), "config": fewer})
    with pytest.raises(
        AdapterError, match=r"^tensor base_model.model.model.layers.0.mlp.down_proj.lora_A.weight: PEFT"
    ):
        with_adapter(tiny_llama(std=0.2), other)


def pruned_adalora(folder: Path) -> Path:
    """An AdaLoRA of which training left 1 to 6 of 6 components, as PEFT writes it."""
    with seeded():
        config = FAMILIES["AdaLoRA"]()
        model = peft.get_peft_model(tiny_llama(std=0.2), config)
        names = [name for name, _ in model.named_parameters() if "lora_E" in name]
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
        left = {}
        for at, name in enumerate(names):
            kept = [(place * 5 + at) % 6 <= at % 6 for place in range(6)]
            left[name.removeprefix("base_model.model.").replace(".default", "")] = kept
        model.peft_config["default"].rank_pattern = left
        model.save_pretrained(str(folder))
    return folder


def test_adalora_that_was_pruned_keeps_its_ranks_as_a_lora(base: Path, tmp_path: Path) -> None:
    made, known = pruned_adalora(tmp_path / "made"), base_of_folder(base)
    info = inspect_adapter(made, base=known)
    assert info.ranks == (1, 2, 3, 4, 5, 6)
    write_canonical(info, tmp_path / "out", base=known)
    after = inspect_adapter(tmp_path / "out", base=known)
    assert after.family == "LoRA"
    assert [module.rank for module in after.modules] == [module.rank for module in info.modules]
    expected = logits(with_adapter(tiny_llama(std=0.2), info))
    assert float((answers(tmp_path / "out") - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    write_merged(info, tmp_path / "merged", base=base)
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged").double())
    assert float((merged - logits(with_adapter(tiny_llama(std=0.2), info).double())).abs().max()) <= 2e-5


def test_the_command(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_adapter("IA3", tmp_path / "made")

    def run(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(("adapters", "export", *map(str, arguments)))
        return int(stop.value.code or 0), capsys.readouterr().err

    out = tmp_path / "out"
    code, errors = run(made, out, "--format", "merged")
    assert (code, errors) == (2, "error: --format merged needs the base model; name its folder with --base\n")
    code, errors = run(made, out, "--format", "peft")
    assert (code, out.exists()) == (1, False)
    assert errors == (
        "error: family: IA3 of a language model cannot be written as plain matrices; only LoRA, rsLoRA, AdaLoRA can\n"
    )
    assert run(made, out, "--format", "merged", "--base", base) == (0, "")
    assert (out / "model.safetensors").exists()
    code, errors = run(made, tmp_path / "other", "--format", "merged", "--base", base.parent)
    assert (code, errors.startswith("error: config.json: cannot be read")) == (1, True)
