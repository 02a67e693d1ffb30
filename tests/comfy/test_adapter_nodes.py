"""Adapters of the prompt LLM in ComfyUI, on a tiny model in both engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import folder_paths
import nodes
import pytest
from host.process import Core
from host.prompt_calls import expand, load
from host.prompt_files import COOL, DORA, FILE, FOLDER, WARM, write_adapter
from host.tiny_files import LORA

from skipstep.errors import AdapterError, OptionError
from skipstep.promptllm import fetched_model

ENGINES = {"gguf": FILE, "hf": FOLDER}
FETCHED = fetched_model()
GREEDY = {"preset": "plain", "temperature": 0.0, "max_clip_tokens": 616, "on_error": "raise"}

Say = Callable[[Any], str]

pytestmark = pytest.mark.usefixtures("pack", "prompt_files", "own_cache")


@pytest.fixture
def loaded(core: Core) -> Callable[[str], Any]:
    """A PROMPT_LLM of the tiny model."""
    return lambda engine: load(core, engine=engine, model=ENGINES[engine], idle_seconds=0.0)


@pytest.fixture
def adapted(core: Core) -> Callable[..., Any]:
    return lambda llm, adapter, scale=1.0: core.call("SkipstepPromptAdapter", llm=llm, adapter=adapter, scale=scale)[0]


@pytest.fixture
def say(core: Core) -> Say:
    """What a model writes, where it always takes the likeliest word."""
    return lambda llm: expand(core, llm, "a cat", **GREEDY)[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_adapters_add_up_and_leave_the_model_as_it_was(
    loaded: Callable[[str], Any], adapted: Callable[..., Any], say: Say, engine: str
) -> None:
    llm = loaded(engine)
    plain = say(llm)
    warm, both = adapted(llm, WARM), adapted(adapted(llm, WARM), COOL, -0.5)
    assert len({plain, say(warm), say(adapted(llm, COOL)), say(both), say(adapted(llm, WARM, 0.5))}) == 5
    assert say(adapted(llm, WARM, 0.0)) == plain
    assert say(adapted(adapted(llm, COOL, -0.5), WARM)) == say(both)
    assert say(llm) == plain
    assert both.expander is llm.expander
    llm.close()


def test_both_engines_write_the_same_with_an_adapter(
    loaded: Callable[[str], Any], adapted: Callable[..., Any], say: Say
) -> None:
    made = [loaded(engine) for engine in ENGINES]
    assert len({say(adapted(llm, WARM)) for llm in made}) == 1
    for llm in made:
        llm.close()


def test_the_information_names_them(core: Core, loaded: Callable[[str], Any], adapted: Callable[..., Any]) -> None:
    llm = adapted(adapted(loaded("hf"), WARM), COOL, 0.25)
    names = [use.name for use in llm.adapters]
    assert names[0] == "warm"
    assert names[1].startswith("cool-")  # from a folder in a folder
    info = expand(core, llm, "a cat", unload_after=True, **GREEDY)[3]
    assert f"adapters: warm@1, {names[1]}@0.25" in info


def test_wrong_use_is_told_at_the_adapters_node(
    core: Core, loaded: Callable[[str], Any], adapted: Callable[..., Any]
) -> None:
    llm = loaded("gguf")
    with pytest.raises(OptionError, match="the adapter warm is named twice"):
        adapted(adapted(llm, WARM), WARM)
    with pytest.raises(AdapterError, match="family: DoRA is not among those of the engine gguf"):
        adapted(llm, DORA)
    with pytest.raises(OptionError, match="the scale of the adapter warm must be -2..2, got 2.5"):
        adapted(llm, WARM, 2.5)
    with pytest.raises(OptionError, match="there is no adapter 'gone' in models/prompt_adapters; there are: .*warm"):
        adapted(llm, "gone")
    with pytest.raises(OptionError, match="the engine echo takes none for echo"):
        adapted(load(core), WARM)
    assert adapted(loaded("hf"), DORA).adapters[0].name == DORA


def test_the_shipped_one_is_offered_and_is_for_its_model_only(
    core: Core, loaded: Callable[[str], Any], adapted: Callable[..., Any]
) -> None:
    node = nodes.NODE_CLASS_MAPPINGS["SkipstepPromptAdapter"]
    assert node.INPUT_TYPES()["required"]["adapter"][1]["options"][0] == "rewriter"
    assert core.call("SkipstepAdapterInspect", adapter="rewriter")[0].startswith("rewriter: LoRA, peft layout\n")
    with pytest.raises(AdapterError):
        adapted(loaded("gguf"), "rewriter")


@pytest.mark.slow
def test_the_shipped_one_changes_what_the_default_model_writes(
    core: Core, adapted: Callable[..., Any], say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not FETCHED.is_file():
        pytest.skip("needs the model of `skipstep prompt fetch`")
    (tmp_path / "default.gguf").symlink_to(FETCHED)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "LLM", ([str(tmp_path)], set()))
    llm = load(core, engine="gguf", model="default.gguf")
    plain, better = say(adapted(llm, "rewriter", scale=0.0)), say(llm)
    assert say(adapted(llm, "rewriter")) == better
    assert plain != better
    assert better.count(",") >= 3
    llm.close()


def test_an_adapter_that_was_changed_is_taken_anew(
    loaded: Callable[[str], Any],
    adapted: Callable[..., Any],
    say: Say,
    prompt_files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "prompt_adapters", ([str(tmp_path)], set()))
    node = nodes.NODE_CLASS_MAPPINGS["SkipstepPromptAdapter"]
    shutil.copytree(prompt_files / "prompt_adapters" / WARM, tmp_path / "mine")
    llm = loaded("gguf")
    before, first = node.fingerprint_inputs(adapter="mine", scale=1.0), say(adapted(llm, "mine"))
    assert node.fingerprint_inputs(adapter="mine", scale=1.0) == before
    shutil.rmtree(tmp_path / "mine")
    write_adapter(prompt_files / "LLM" / FOLDER, tmp_path / "mine", seed=5)
    assert node.fingerprint_inputs(adapter="mine", scale=1.0) != before
    assert say(adapted(llm, "mine")) != first
    (tmp_path / "mine" / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(AdapterError, match="adapter_model.bin"):
        adapted(llm, "mine")
    llm.close()


def test_adapters_are_inspected(
    core: Core, prompt_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes.NODE_CLASS_MAPPINGS["SkipstepAdapterInspect"]
    offered = node.INPUT_TYPES()["required"]["adapter"][1]["options"]
    assert {WARM, COOL, DORA, f"loras/{LORA}"} <= set(offered)
    (report,) = core.call("SkipstepAdapterInspect", adapter=DORA)
    lines = report.splitlines()
    assert lines[0] == "dora: DoRA, peft layout"
    assert "2 x model.layers.*.self_attn.q_proj: rank 4, alpha 8, scale 2" in lines
    assert lines[-1].startswith("note: no base model was named")
    (report,) = core.call("SkipstepAdapterInspect", adapter=f"loras/{LORA}")
    assert report.startswith(f"loras/{LORA}: LoRA, kohya layout\n")
    assert "rank 4, alpha 4, scale 1" in report
    assert node.PREPARE_CLASS_CLONE(None).execute(adapter=DORA).ui == {"text": ("\n".join(lines),)}
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "prompt_adapters", ([str(tmp_path)], set()))
    shutil.copytree(prompt_files / "prompt_adapters" / WARM, tmp_path / "bad")
    (tmp_path / "bad" / "run.py").write_text("")
    with pytest.raises(AdapterError, match="run.py"):
        core.call("SkipstepAdapterInspect", adapter="bad")
