"""The default model as a transformers folder: the same model as the GGUF file, made once, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_folder import tiny_base, tiny_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipstep.adapters import base_of_folder
from skipstep.errors import ModelLoadError
from skipstep.hashes import file_sha256
from skipstep.promptllm import fetched_model, unpack_model, unpacked, unpacked_model

pytest.importorskip("gguf")


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in the place of the fetched one; gives the folder that it was made of."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tiny_base(tmp_path / "base")
    fetched_model().parent.mkdir(parents=True)
    tiny_gguf(base, fetched_model())
    monkeypatch.setattr(unpacked, "FILE_SHA256", file_sha256(fetched_model()))
    return base


def test_it_is_the_model_of_the_file(fetched: Path) -> None:
    folder = unpack_model()
    assert folder == unpacked_model()
    assert folder.parent == fetched_model().parent
    models: Any = AutoModelForCausalLM
    made, original = (models.from_pretrained(str(place)).eval() for place in (folder, fetched))
    assert {parameter.dtype for parameter in made.parameters()} == {torch.float32}
    words = torch.arange(5, 60, 3)[None]
    with torch.no_grad():
        expected = original(words).logits
        assert expected.std() > 1e-2
        torch.testing.assert_close(made(words).logits, expected, rtol=1e-5, atol=1e-5)
    tokenizers = [AutoTokenizer.from_pretrained(str(place)) for place in (folder, fetched)]
    text = "<|im_start|>user\na big fox, 35mm<|im_end|>\n"
    own, theirs = (tokenizer(text, add_special_tokens=False)["input_ids"] for tokenizer in tokenizers)
    assert own == theirs
    assert base_of_folder(folder).linears == base_of_folder(fetched).linears


@pytest.mark.usefixtures("fetched")
def test_it_is_made_once() -> None:
    folder = unpack_model()
    made = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    os.unlink(fetched_model())  # it is not read again
    assert unpack_model() == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == made


@pytest.mark.usefixtures("fetched")
def test_another_file_or_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "FILE_SHA256", "0" * 64)
    with pytest.raises(ModelLoadError, match="is not there or is another file; `skipstep prompt fetch` gets it"):
        unpack_model()
    os.unlink(fetched_model())
    with pytest.raises(ModelLoadError, match="is not there"):
        unpack_model()


@pytest.mark.usefixtures("fetched")
def test_a_failure_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_source: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(unpacked, "unpack", half)
    with pytest.raises(KeyboardInterrupt):
        unpack_model()
    assert list(fetched_model().parent.iterdir()) == [fetched_model()]
