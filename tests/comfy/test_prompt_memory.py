"""The prompt LLM's memory under ComfyUI's own management."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import comfy.model_management as management
import pytest
import torch
from host.models import TinySDXL, draw
from host.process import Core, Pack
from host.prompt_calls import expand, load
from host.prompt_engines import Large
from host.prompt_files import FILE, FOLDER

from skipstep.promptllm import ClipTokens, PromptExpander

ENGINES = {"gguf": FILE, "hf": FOLDER}
CPU, GPU = torch.device("cpu"), torch.device("meta")
GB = 10**9

pytestmark = pytest.mark.usefixtures("pack", "prompt_files", "own_cache")


@pytest.fixture(autouse=True)
def _nothing_loaded() -> None:
    gc.collect()
    management.unload_all_models()


@pytest.fixture
def loaded(core: Core) -> Callable[..., Any]:
    """A PROMPT_LLM of the tiny model."""
    return lambda engine, idle=0.0: load(core, engine=engine, model=ENGINES[engine], idle_seconds=idle)


@pytest.fixture
def ask(core: Core) -> Callable[..., None]:
    """A prompt that was not asked before has the model loaded."""
    return lambda llm, seed: expand(core, llm, preset="plain", seed=seed)


def bytes_of(llm: Any) -> int:
    return int(llm.expander.engine.loaded_bytes)


def counted() -> list[Any]:
    """The patchers that ComfyUI counts as loaded."""
    return [entry.model for entry in management.current_loaded_models]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("free", ["all", "wanted"])
def test_comfyui_unloads_it(loaded: Callable[..., Any], ask: Callable[..., None], engine: str, free: str) -> None:
    llm = loaded(engine)
    assert bytes_of(llm) == 0
    assert llm.patcher not in counted()
    ask(llm, 1)
    assert bytes_of(llm) > 100_000
    assert llm.patcher in counted()
    assert llm.patcher.loaded_size() == llm.patcher.model_size() == bytes_of(llm)
    if free == "all":
        management.unload_all_models()
    else:
        management.free_memory(1e30, CPU)
    assert bytes_of(llm) == 0
    assert llm.patcher not in counted()
    ask(llm, 2)
    assert bytes_of(llm) > 100_000
    llm.close()


def test_it_stays_loaded_from_prompt_to_prompt(
    loaded: Callable[..., Any], ask: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = loaded("gguf")
    ask(llm, 1)
    closed: list[int] = []
    monkeypatch.setattr(llm.expander.engine, "close", lambda: closed.append(1))
    ask(llm, 2)
    ask(llm, 3)
    assert closed == []
    assert counted().count(llm.patcher) == 1
    monkeypatch.undo()
    llm.close()


def test_it_is_beside_a_model_that_draws(
    core: Core, loaded: Callable[..., Any], ask: Callable[..., None], comfy_sdxl: TinySDXL
) -> None:
    llm = loaded("hf")
    alone = draw(core, comfy_sdxl)
    ask(llm, 1)
    assert torch.equal(draw(core, comfy_sdxl), alone)
    assert bytes_of(llm) > 0
    kept = [entry for entry in management.current_loaded_models if entry.model is not llm.patcher]
    management.free_memory(1e30, CPU, kept)
    assert bytes_of(llm) == 0
    assert [entry.model for entry in kept] == counted()
    assert torch.equal(draw(core, comfy_sdxl), alone)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_left_when_nobody_has_it(loaded: Callable[..., Any], ask: Callable[..., None], engine: str) -> None:
    llm = loaded(engine, idle=300.0)  # whose timer waits, and must not keep it
    ask(llm, 1)
    held = llm.expander.engine
    patcher = weakref.ref(llm.patcher)
    before = len(management.current_loaded_models)
    del llm
    gc.collect()
    assert patcher() is None
    assert held.loaded_bytes == 0
    assert len(management.current_loaded_models) == before - 1


@pytest.fixture
def on_gpu(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A PROMPT_LLM of 4 GB on a stand-in for a GPU with 10."""
    engine = Large(4 * GB)

    def free(*_: Any, torch_free_too: bool = False) -> Any:
        left = 10 * GB - engine.loaded
        return (left, left) if torch_free_too else left

    monkeypatch.setattr(management, "get_free_memory", free)
    patcher = pack.module("comfy_nodes.prompting.patcher").EnginePatcher(engine, device=GPU, size=engine.size)
    expander = PromptExpander(engine, tokens=ClipTokens())
    return pack.module("comfy_nodes.prompting").PromptLLM(expander=expander, patcher=patcher)


def test_on_a_gpu_it_gives_way_only_where_the_room_is_needed(on_gpu: Any, ask: Callable[..., None]) -> None:
    assert on_gpu.patcher.model_size() == 4 * GB
    assert on_gpu.patcher.current_loaded_device() == CPU
    ask(on_gpu, 1)
    assert bytes_of(on_gpu) == 4 * GB
    assert on_gpu.patcher.current_loaded_device() == GPU
    management.free_memory(5 * GB, GPU)  # 6 are free
    management.free_memory(8 * GB, CPU)  # another device
    assert bytes_of(on_gpu) == 4 * GB
    management.free_memory(8 * GB, GPU)
    assert bytes_of(on_gpu) == 0
    assert on_gpu.patcher not in counted()
    ask(on_gpu, 2)
    management.free_memory(9 * GB, GPU, list(management.current_loaded_models))
    assert bytes_of(on_gpu) == 4 * GB  # what is in use now is kept
    management.free_memory(9 * GB, GPU)
    assert bytes_of(on_gpu) == 0


def test_on_a_gpu_room_is_made_for_it(on_gpu: Any, ask: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[float, Any]] = []
    real = management.free_memory

    def watched(memory_required: float, device: Any, *args: Any, **kwargs: Any) -> Any:
        wanted.append((memory_required, device))
        return real(memory_required, device, *args, **kwargs)

    monkeypatch.setattr(management, "free_memory", watched)
    ask(on_gpu, 1)
    assert {device for _, device in wanted} == {GPU}
    assert max(memory for memory, _ in wanted) > 4 * GB
    wanted.clear()
    ask(on_gpu, 2)  # it is there: only what computing takes
    assert wanted
    assert max(memory for memory, _ in wanted) < 4 * GB
    real(1e30, GPU)
