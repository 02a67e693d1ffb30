"""What SoRA's, offsite-tuning's, CRaSh's and PEFT's authors publish becomes what is read here, value for value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft_adapters import answers, make_adapter
from pickled_adapters import SOUND
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_llm import tiny_llama
from torch import Tensor

from skipstep.adapters import ConversionHints, base_of_module, convert_adapter, inspect_adapter
from skipstep.adapters.crash import plug, read_outer_layers
from skipstep.adapters.sora import published_state
from skipstep.adapters.unpickling import RefusedError, read_pickle, write_tensors
from skipstep.cli import main
from skipstep.errors import AdapterError, OutputError

BASE = base_of_module(tiny_llama())
NAMES = [f"model.layers.{layer}.self_attn.{name}_proj" for layer in range(2) for name in "qv"]
SIZES = {name: BASE.linears[name] for name in NAMES}


def published_sora() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for at, (name, (outputs, inputs)) in enumerate(SIZES.items()):
        tensors[f"{name}.lora.lora_A"] = torch.randn(3, inputs, generator=generator)
        tensors[f"{name}.lora.lora_B"] = torch.randn(outputs, 3, generator=generator)
        tensors[f"{name}.lora.gate"] = torch.tensor([[0.5, 0.0, -1.0]]) * (at != 1)  # one module lost all its gates
    return tensors


def as_pickle(source: Path, name: str) -> None:
    """Put a pickle in the place of a safetensors file."""
    torch.save(load_file(source), source.with_name(name))
    source.unlink()


@pytest.fixture
def sora(tmp_path: Path) -> Path:
    """SoRA's folder, as its authors' code writes it, but for the pickle."""
    folder = tmp_path / "sora"
    folder.mkdir()
    save_file(published_sora(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"delta_type": "lora", "lora_r": 3, "lora_alpha": 12}))
    return folder


def outer_tensors(numbers: tuple[int, ...]) -> dict[str, Tensor]:
    layers = tiny_llama(layers=5, seed=3).half().model.layers
    return {f"{k}.{name}": value for k, at in enumerate(numbers) for name, value in layers[at].state_dict().items()}


@pytest.fixture
def crash(tmp_path: Path) -> Path:
    """CRaSh's folder: trained layers and those of the emulator in half precision, and which they are; no pickles."""
    folder = tmp_path / "crash"
    folder.mkdir()
    save_file(outer_tensors((0, 4)), folder / "adapter.safetensors")
    save_file(outer_tensors((1, 3)), folder / "student.safetensors")
    (folder / "metadata.json").write_text(json.dumps({"train_layers": [0, 4], "student_layers": [1, 3], "seed": 1}))
    return folder


@pytest.mark.parametrize("source", ["", "pytorch_model.bin", "model.safetensors"])
def test_sora_becomes_a_lora_with_the_same_products(source: str, sora: Path, tmp_path: Path) -> None:
    if source != "model.safetensors":
        as_pickle(sora / "model.safetensors", "pytorch_model.bin")
    before = sorted(path.name for path in sora.iterdir())
    assert convert_adapter(sora / source, tmp_path / "out", base=BASE) == "sora"
    assert sorted(path.name for path in sora.iterdir()) == before
    info = inspect_adapter(tmp_path / "out", base=BASE)
    assert info.warnings == ()  # the note says which base model it is for
    assert {module.name: module.rank for module in info.modules} == {name: 2 for name in NAMES if name != NAMES[1]}
    made, published = load_file(tmp_path / "out" / "adapter_model.safetensors"), published_sora()
    for name in {module.name for module in info.modules}:
        a, b, gate = (published[f"{name}.lora.{part}"].double() for part in ("lora_A", "lora_B", "gate"))
        found = (made[f"base_model.model.{name}.lora_{half}.weight"].double() for half in "BA")
        expected = (b * gate) @ a * 12 / 3
        assert float((torch.linalg.multi_dot(list(found)) - expected).abs().max()) < 1e-6 * float(expected.abs().max())
    assert published_state(published, {"lora_r": 3, "lora_alpha": 12}).ranks()[NAMES[1]] == 0


def test_what_was_trained_beside_sora_is_named(sora: Path, tmp_path: Path) -> None:
    save_file({**published_sora(), "classifier.weight": torch.ones(2, 2)}, sora / "model.safetensors")
    with pytest.raises(AdapterError, match=r"classifier.weight is no part of SoRA"):
        convert_adapter(sora, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    convert_adapter(sora, tmp_path / "out", hints=ConversionHints(leave_out=["classifier"]))
    assert inspect_adapter(tmp_path / "out").ranks == (2,)
    beside = {"classifier.weight": torch.ones(2, 2), "position_ids": torch.arange(3), "classifiers": torch.ones(1)}
    torch.save({**published_sora(), **beside}, sora / "pytorch_model.bin")
    with pytest.raises(RefusedError, match="tensor position_ids: is int64"):
        read_pickle(sora / "pytorch_model.bin", leave_out=["classifier"])
    hints = ConversionHints(leave_out=["classifier", "position_ids"])
    with pytest.raises(AdapterError, match=r"^classifiers is no part of SoRA"):
        convert_adapter(sora, tmp_path / "other", hints=hints)


def test_sora_of_another_model_is_refused(sora: Path, tmp_path: Path) -> None:
    (sora / "config.json").write_text(json.dumps({"lora_r": 4, "lora_alpha": 12}))
    with pytest.raises(AdapterError, match=r"gate must be \(1, 4\) as lora_r says"):
        convert_adapter(sora, tmp_path / "out")
    (sora / "config.json").write_text(json.dumps({"lora_r": 3, "lora_alpha": 12}))
    other = base_of_module(tiny_llama(layers=1))
    with pytest.raises(AdapterError, match=r"module model.layers.1.self_attn.[qv]_proj: is no linear layer"):
        convert_adapter(sora, tmp_path / "out", base=other)
    (sora / "config.json").unlink()
    with pytest.raises(AdapterError, match=r"^config.json: cannot be read"):
        convert_adapter(sora, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sora"]


def test_crashs_layers_are_those_that_metadata_names(crash: Path, tmp_path: Path) -> None:
    full = tiny_llama(layers=5)
    base = base_of_module(full)
    as_pickle(crash / "adapter.safetensors", "adapter.pt")
    assert convert_adapter(crash, tmp_path / "outer.safetensors", base=base) == "offsite"
    with safe_open(tmp_path / "outer.safetensors", framework="pt") as file:
        assert file.metadata() == {
            "format": "skipstep-crash-1",
            "train_layers": "0,4",
            "base_num_layers": "5",
            "dtype": "float16",
        }
    with plug(full, read_outer_layers(tmp_path / "outer.safetensors")):
        for k, number in enumerate((0, 4)):
            for name, value in full.model.layers[number].state_dict().items():
                assert torch.equal(value, outer_tensors((0, 4))[f"{k}.{name}"].float())
    convert_adapter(crash / "student.safetensors", tmp_path / "student.safetensors")
    student = read_outer_layers(tmp_path / "student.safetensors")
    assert (sorted(student.layers), student.total) == ([1, 3], None)
    name = "mlp.up_proj.weight"
    assert torch.equal(student.layers[3][name], outer_tensors((1, 3))[f"1.{name}"])


def test_layers_that_nothing_names_are_asked_for(crash: Path, tmp_path: Path) -> None:
    out = tmp_path / "outer.safetensors"
    (crash / "metadata.json").write_text(json.dumps({"train_layers": "0,4"}))
    with pytest.raises(AdapterError, match=r"^train_layers: metadata.json must have a list .* got 0,4"):
        convert_adapter(crash, out)
    (crash / "metadata.json").unlink()
    with pytest.raises(
        AdapterError, match=r"^train_layers: adapter.safetensors does not say .* --train-layers, as 0,1,28,29"
    ):
        convert_adapter(crash, out)
    convert_adapter(crash, out, hints=ConversionHints(train_layers=[4, 1]))
    assert list(read_outer_layers(out).layers) == [4, 1]
    base = base_of_module(tiny_llama(layers=4))
    with pytest.raises(AdapterError, match=r"^train_layers: there is no layer 4; the base model has 0..3"):
        convert_adapter(crash, out, base=base, hints=ConversionHints(train_layers=[0, 4]))


def test_layers_of_other_sizes_are_refused(crash: Path, tmp_path: Path) -> None:
    tensors = outer_tensors((0, 4))
    tensors["1.mlp.up_proj.weight"] = tensors["1.mlp.up_proj.weight"][:5].clone()
    save_file(tensors, crash / "adapter.safetensors")
    base = base_of_module(tiny_llama(layers=5))
    with pytest.raises(AdapterError, match=r"^shape of layer 4: mlp.up_proj.weight is \[5, 64\], and .* \[128, 64\]"):
        convert_adapter(crash, tmp_path / "outer.safetensors", base=base)


@pytest.mark.parametrize("name", ["LoRA of mixed ranks", "prompt tuning"])
def test_pefts_old_folders_answer_as_the_new_ones(name: str, tmp_path: Path) -> None:
    made = make_adapter(name, tmp_path / "made")
    old = tmp_path / "old"
    old.mkdir()
    torch.save(load_file(made / "adapter_model.safetensors"), old / "adapter_model.bin")
    torch.save({"step": 1}, old / "optimizer.pt")  # what a trainer leaves beside is not looked at
    (old / "adapter_config.json").write_bytes((made / "adapter_config.json").read_bytes())
    assert convert_adapter(old, tmp_path / "new") == "peft"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert torch.equal(answers(tmp_path / "new"), answers(made))
    assert not torch.equal(answers(made), answers(None))


def test_a_config_that_is_refused_is_not_written(tmp_path: Path) -> None:
    made = make_adapter("LoRA", tmp_path / "made")
    torch.save(load_file(made / "adapter_model.safetensors"), made / "adapter_model.bin")
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["lm_head"]}))
    with pytest.raises(AdapterError, match=r"^modules_to_save: "):
        convert_adapter(made, tmp_path / "out")
    (made / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(OutputError, match="not empty"):
        convert_adapter(made, made)
    with pytest.raises(AdapterError, match="^name: 'my adapter' has other characters"):
        convert_adapter(made, tmp_path / "my adapter")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_loras_of_image_models(tmp_path: Path) -> None:
    torch.save(SOUND, tmp_path / "pytorch_lora_weights.bin")
    out = tmp_path / "new" / "folder" / "out.safetensors"
    assert convert_adapter(tmp_path, out) == "image"
    info = inspect_adapter(out)
    assert (info.family, info.layout, info.ranks) == ("LoRA", "kohya", (4,))
    assert all(torch.equal(value, SOUND[name]) for name, value in load_file(out).items())


def test_safetensors_need_no_conversion(tmp_path: Path) -> None:
    save_file(SOUND, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match=r"^x.safetensors: is no pickle and needs no conversion"):
        convert_adapter(tmp_path / "x.safetensors", tmp_path / "y.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_stay_as_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensors: dict[str, Any] = {
        "whole": values,
        "turned": values.t(),
        "part": values[1:3, 2:],
        "parameter": torch.nn.Parameter(values * 2),
        "number": values[0, 0],
        "empty": values[:0],
    }
    torch.save(tensors, tmp_path / "x.bin")
    write_tensors(read_pickle(tmp_path / "x.bin"), tmp_path / "made")
    made = load_file(tmp_path / "made")
    assert set(made) == set(tensors)
    for name, tensor in tensors.items():
        assert made[name].dtype == dtype
        assert torch.equal(made[name], tensor)


def test_the_command(crash: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_llama(layers=5).save_pretrained(str(tmp_path / "base"))
    (tmp_path / "base" / "tokenizer.json").write_text("{}")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(("adapters", *map(str, arguments)))
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    outer, plugged = tmp_path / "outer.safetensors", tmp_path / "plugged"
    code, _, errors = run("convert", crash, outer, "--train-layers", "0;4")
    assert (code, outer.exists()) == (2, False)
    assert errors == "error: --train-layers must be numbers with commas, as 0,1,28,29, got '0;4'\n"
    code, printed, errors = run("convert", crash, outer, "--train-layers", "1,3", "--base", tmp_path / "base")
    assert (code, errors) == (0, "")
    assert [line.split() for line in printed.splitlines()] == [["layout", "offsite"], ["written", str(outer)]]
    code, _, errors = run("plug", outer, "--base", tmp_path / "base", "--out", plugged)
    assert (code, errors) == (0, "")
    assert sorted(path.name for path in plugged.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    made, base = load_file(plugged / "model.safetensors"), load_file(tmp_path / "base" / "model.safetensors")
    assert set(made) == set(base)
    for name, value in made.items():
        layer, _, weight = name.removeprefix("model.layers.").partition(".")
        k = {"1": 0, "3": 1}.get(layer)
        expected = base[name] if k is None else outer_tensors((0, 4))[f"{k}.{weight}"].float()
        assert torch.equal(value, expected)
    code, _, errors = run("plug", outer, "--base", tmp_path / "base", "--out", plugged)
    assert (code, errors.count("\n")) == (1, 1)
    assert "is not empty" in errors
