"""`skipstep adapters` as a person meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import pytest
from adapter_drafts import Draft, lora_draft, packed
from tiny_llm import tiny_llama

from skipstep.adapters import base_of_folder, inspect_adapter
from skipstep.cli import main


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()  # transformers' own, of the base
    with pytest.raises(SystemExit) as stop:
        main(("adapters", *map(str, arguments)))
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def _of_tiny_llama(folder: Path) -> tuple[Path, Path]:
    """A LoRA with other scales in other layers, and the folder of its base."""
    tiny_llama().save_pretrained(str(folder / "base"))
    draft = Draft(config={**lora_draft().config, "r": 2, "alpha_pattern": {"1.self_attn.v_proj": 3}}, tensors={})
    for layer in range(2):
        for name, outputs in (("q", 64), ("v", 32)):
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
            draft.put(f"{module}.lora_A.weight", 2, 64)
            draft.put(f"{module}.lora_B.weight", outputs, 2)
    return draft.write(folder / "adapter"), folder / "base"


def test_a_table_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, base = _of_tiny_llama(tmp_path)
    code, printed, errors = _run(capsys, "inspect", adapter, "--base", base)
    assert (code, errors) == (0, "")
    lines = [line.split() for line in printed.splitlines()]
    assert ["family", "LoRA,", "peft", "layout"] in lines
    assert ["model.layers.*.self_attn.q_proj", "2", "2", "8", "4", "64", "64"] in lines
    assert ["model.layers.*.self_attn.v_proj", "2", "2", "3..8", "1.5..4", "64", "32"] in lines
    assert "nothing says which base model it was made for" in printed


def test_json_for_programs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, _ = _of_tiny_llama(tmp_path)
    code, printed, errors = _run(capsys, "inspect", adapter, "--json")
    assert (code, errors) == (0, "")
    found, info = json.loads(printed), inspect_adapter(adapter)
    assert (found["family"], found["sha256"], found["path"]) == ("LoRA", info.sha256, str(adapter))
    assert [module["name"] for module in found["modules"]] == [module.name for module in info.modules]
    assert found["config"] == json.loads(json.dumps(dict(info.config)))


def test_a_file_of_an_image_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    draft = Draft(config={}, tensors={})
    for block in range(3):
        draft.put(f"lora_unet_mid_{block}_to_q.lora_down.weight", 4, 64)
        draft.put(f"lora_unet_mid_{block}_to_q.lora_up.weight", 32, 4)
    (tmp_path / "x.safetensors").write_bytes(packed(draft.tensors))
    code, printed, _ = _run(capsys, "inspect", tmp_path / "x.safetensors")
    assert code == 0
    assert "LoRA, kohya layout" in printed
    assert re.search(r"^lora_unet_mid_\*_to_q +3 +4 +- +- +64 +32", printed, re.MULTILINE)


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, base = _of_tiny_llama(tmp_path)
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x04.")
    for arguments in (("inspect", adapter), ("export", adapter, tmp_path / "out", "--base", base)):
        code, printed, errors = _run(capsys, *arguments)
        assert (code, printed) == (1, "")
        assert errors.startswith("error: adapter_model.bin: is a pickle")
        assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_export_to_peft(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, base = _of_tiny_llama(tmp_path)
    code, printed, errors = _run(capsys, "export", adapter, tmp_path / "out", "--base", base)
    assert (code, errors) == (0, "")
    assert str(tmp_path / "out") in printed
    info = inspect_adapter(tmp_path / "out", base=base_of_folder(base))
    assert ({module.scale for module in info.modules}, info.warnings) == ({1.0}, ())


def test_export_to_gguf_needs_the_base(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, base = _of_tiny_llama(tmp_path)
    out = tmp_path / "out.gguf"
    code, _, errors = _run(capsys, "export", adapter, out, "--format", "gguf")
    assert (code, out.exists()) == (2, False)
    assert "--base" in errors
    assert _run(capsys, "export", adapter, out, "--format", "gguf", "--base", base)[0] == 0
    assert len(gguf.GGUFReader(out).tensors) == 8
