"""Prompt LLM Loader and Prompt LLM Remote: what they offer, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import pytest
from host.process import Core
from host.prompt_calls import DEFAULT_MODEL, LOADER, fingerprint, load

from skipstep.errors import ModelLoadError, OptionError

NODE = "SkipstepPromptLLMLoader"

pytestmark = pytest.mark.usefixtures("pack", "own_cache")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of the user's, without any model."""
    for kind in ("LLM", "text_encoders"):
        (tmp_path / kind).mkdir()
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(tmp_path / kind)], {".safetensors"}))
    return tmp_path


def put(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_it_offers_what_is_there(core: Core, models: Path) -> None:
    for name in ("LLM/a.gguf", "LLM/deep/b.GGUF", "LLM/small/config.json", "LLM/readme.txt", "text_encoders/t5.gguf"):
        put(models / name)
    model = core.node(NODE).INPUT_TYPES()["required"]["model"]
    assert model[1]["options"] == [DEFAULT_MODEL, "a.gguf", "deep/b.GGUF", "t5.gguf", "small"]


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (
            {},
            ModelLoadError,
            "default model was not fetched for gguf: run `skipstep prompt fetch` with ComfyUI's Python",
        ),
        ({"engine": "hf"}, ModelLoadError, "not fetched for hf: run `skipstep prompt fetch --transformers` with"),
        ({"model": "folder"}, OptionError, "folder is a transformers folder, which is for the engine hf, got gguf"),
        (
            {"engine": "hf", "model": "notes.gguf"},
            OptionError,
            "notes.gguf is a GGUF file, which is for the engine gguf, got hf",
        ),
        ({"model": "notes.gguf"}, ModelLoadError, "is not a whole GGUF file"),
        ({"model": "gone.gguf"}, OptionError, "there is no model 'gone.gguf' in models/LLM or models/text_encoders"),
        (
            {"model": "notes.gguf", "device": "gpu"},
            OptionError,
            "there is no GPU for device gpu in this ComfyUI; choose auto or cpu",
        ),
        ({"model": "notes.gguf", "quantize": "nf4"}, OptionError, "the engine gguf has no use for quantize"),
    ],
)
def test_it_says_what_is_wrong(
    core: Core, models: Path, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    put(models / "LLM" / "folder" / "config.json", "{}")
    put(models / "LLM" / "notes.gguf", "no model")
    with pytest.raises(error, match=message):
        load(core, **{"engine": "gguf", **inputs})


def test_it_runs_again_when_its_file_changes(core: Core, models: Path) -> None:
    put(models / "LLM" / "a.gguf", "one")
    inputs = {**LOADER, "engine": "gguf", "model": "a.gguf"}
    before = fingerprint(core, NODE, **inputs)
    assert fingerprint(core, NODE, **inputs) == before
    put(models / "LLM" / "a.gguf", "other")
    assert fingerprint(core, NODE, **inputs) != before


def test_a_key_is_in_no_input_and_no_url(core: Core) -> None:
    inputs = core.node("SkipstepPromptLLMRemote").INPUT_TYPES()
    assert list(inputs["required"]) == ["url", "model"]
    assert not inputs.get("optional")
    assert "key" not in json.dumps(inputs["required"]["model"])
    with pytest.raises(OptionError, match="url must hold no name or password; put a key into SKIPSTEP_PROMPT_API_KEY"):
        core.call("SkipstepPromptLLMRemote", url="http://me:secret@127.0.0.1:1", model="small")
