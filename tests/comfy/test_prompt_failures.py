"""What the nodes of the prompt LLM do where a model fails, hangs, or is not wanted any more."""

from __future__ import annotations

import socket
import time
from threading import Timer

import comfy.model_management as management
import pytest
from host.process import Core, Pack
from host.prompt_calls import EXPAND, expand, expand_batch, fingerprint, load, with_engine
from host.prompt_engines import Broken, Silent

from skipstep.errors import PromptEngineError
from skipstep.promptllm import RemoteEngine

NODE = "SkipstepPromptExpand"

pytestmark = pytest.mark.usefixtures("pack", "own_cache")


def test_a_failure_gives_the_prompt_or_stops_and_is_asked_again(core: Core, pack: Pack) -> None:
    before = fingerprint(core, NODE, **EXPAND)
    llm = with_engine(pack, Broken(times=3))
    prompt, added, negative, info = expand(core, llm)
    assert (prompt, added) == ("a cat on a beach", "")
    assert negative
    assert info.startswith("not expanded: the server is gone")
    after = fingerprint(core, NODE, **EXPAND)
    assert after != before
    assert fingerprint(core, f"{NODE}Batch", **{name: [value] for name, value in EXPAND.items()}) == after
    with pytest.raises(PromptEngineError, match="the prompt was not expanded: the server is gone"):
        expand(core, llm, on_error="raise")
    given = expand_batch(core, llm, ["a cat\na dog"])
    assert given[0][0] == "a cat"
    assert given[0][1].startswith("a dog, ")
    settled = fingerprint(core, NODE, **EXPAND)
    assert expand(core, llm)[1]
    assert fingerprint(core, NODE, **EXPAND) == settled


def test_a_prompt_that_is_too_long_is_no_failure(core: Core) -> None:
    before = fingerprint(core, NODE, **EXPAND)
    prompt, added, _, info = expand(core, load(core), "a cat on a beach", max_clip_tokens=5)
    assert (prompt, added) == ("a cat on a beach", "")
    assert "the prompt alone has 7 CLIP tokens of 5" in info
    assert fingerprint(core, NODE, **EXPAND) == before


def test_a_server_that_is_not_there_gives_the_prompt(core: Core) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nothing listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (llm,) = core.call("SkipstepPromptLLMRemote", url=f" {url} ", model="small")
        assert isinstance(llm.expander.engine, RemoteEngine)
        prompt, _, _, info = expand(core, llm, timeout=5.0)
    assert prompt == "a cat on a beach"
    assert "not expanded: the server cannot be asked" in info


@pytest.mark.parametrize("speaks", [True, False])
def test_cancelling_does_not_wait_for_the_model(core: Core, pack: Pack, speaks: bool) -> None:
    engine = Silent(speaks=speaks)
    llm = with_engine(pack, engine)
    started = time.monotonic()
    Timer(0.3, management.interrupt_current_processing).start()
    with pytest.raises(management.InterruptProcessingException):
        expand(core, llm, timeout=30.0, unload_after=True)
    assert time.monotonic() - started < 10.0
    assert engine.closed == 1
    assert engine.ended.wait(10.0 if speaks else 0.5) is speaks  # a silent one is not heard until its own timeout
    assert not management.processing_interrupted()
    engine.ended.set()


def test_unloading(core: Core, pack: Pack) -> None:
    engine = Silent(speaks=False)
    llm = with_engine(pack, engine)
    expand(core, llm, timeout=1.0)
    assert engine.closed == 0
    expand(core, llm, timeout=1.0, unload_after=True)
    assert engine.closed == 1
    thing = object()
    assert core.call("SkipstepPromptLLMUnload", anything=thing, llm=llm) == (thing,)
    assert engine.closed == 2
