"""Files of tensors: written whole or not at all, and a missing package named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from skipstep.adapters.whole_tensors import load_tensors, save_tensors
from skipstep.errors import MissingExtraError


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    turned = torch.arange(6.0).view(2, 3).T
    assert not turned.is_contiguous()
    save_tensors({"a": turned, "b": torch.ones(1, dtype=torch.bfloat16)}, path, metadata={"step": "3"})
    tensors, metadata = load_tensors(path)
    assert torch.equal(tensors["a"], turned)
    assert tensors["b"].dtype == torch.bfloat16
    assert metadata == {"step": "3"}


def test_an_earlier_file_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors({"a": torch.ones(2)}, path, metadata={})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_tensors({"a": torch.zeros(2)}, path, metadata={"step": 3})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'skipstep\[diffusers\]'"):
        save_tensors({"a": torch.ones(1)}, tmp_path / "x.safetensors", metadata={})
    with pytest.raises(MissingExtraError, match=r"pip install 'skipstep\[diffusers\]'"):
        load_tensors(tmp_path / "x.safetensors")
