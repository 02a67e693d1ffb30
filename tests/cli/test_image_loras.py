"""`skipstep image --lora` as a person meets it, and a server whose settings name a file that is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from skipstep.cli import main
from skipstep.demo import load_demo_sdxl
from skipstep.hashes import file_sha256


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(tuple(map(str, arguments)))
    return int(stop.value.code or 0), capsys.readouterr().err


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the demo's queries that changes every picture."""
    path, tensors = tmp_path_factory.mktemp("loras") / "wild.safetensors", {}
    generator = torch.Generator().manual_seed(0)
    for name, layer in load_demo_sdxl().unet.named_modules():
        if name.endswith("to_q"):
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, layer.in_features, generator=generator)
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(layer.out_features, 2, generator=generator)
    save_file(tensors, path)
    return path


def test_a_lora_is_on_the_model_and_in_the_pictures_texts(
    lora: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def drawn(*options: str) -> tuple[Any, dict[str, Any]]:
        out = tmp_path / "x.png"
        fixed = ("--seed", "1", "--steps", "4", "--width", "64", "--height", "64", "--cache", "lossless")
        assert _run(capsys, "image", "a fox", *fixed, *options, "--out", out)[0] == 0
        with Image.open(out) as picture:
            return np.asarray(picture, np.int16), json.loads(picture.info["skipstep"])

    plain, texts = drawn()
    assert "loras" not in texts
    wild, texts = drawn("--lora", f"{lora}@0.5")
    assert texts["loras"] == [{"file": "wild.safetensors", "scale": 0.5, "sha256": file_sha256(lora)}]
    assert np.abs(wild - plain).max() > 20
    both, _ = drawn("--lora", f"{lora}@0.5", "--lora", f"{lora}@-0.5")
    assert np.abs(both - plain).max() <= 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-8], "has .* bytes of tensors, the header names .*; trailing or missing bytes"),
        (lambda raw: raw[:-4] + b"\0\0\xc0\x7f", "has a value that is NaN"),
        (lambda _: b"\x80\x04K\x01.", "is no safetensors file or was cut off"),
    ],
    ids=["cut off", "NaN", "a pickle"],
)
def test_a_file_that_is_refused_is_wrong_usage(
    damage: Any,
    message: str,
    lora: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "bad.safetensors").write_bytes(damage(lora.read_bytes()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKIPSTEP_LORAS", json.dumps({"x": "bad.safetensors"}))
    for command in (("image", "a fox", "--lora", "bad.safetensors"), ("serve",)):
        code, errors = _run(capsys, *command)
        assert code == 2
        assert errors.count("\n") == 1
        assert errors.startswith("error: cannot use bad.safetensors as a LoRA: ")
        assert re.search(message, errors)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]
