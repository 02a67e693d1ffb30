"""Warming up: all graphs that some requests need are made ahead, and none after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skipstep import DeepCache
from skipstep.compile import Compiler
from skipstep.engine import ImageEngine, ImageRequest
from skipstep.errors import OptionError

# two passes show all that there is to see
pytestmark = pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
RequestFor = Callable[..., ImageRequest]
FULL, REUSE = "eager: full pass, 2 x 4 x 8 x 8", "eager: reuse pass at branch {}, 2 x 4 x 8 x 8"


@pytest.fixture
def told() -> list[str]:
    """Graphs in the order in which they were begun."""
    return []


@pytest.fixture
def compiled(engine: ImageEngine, told: list[str]) -> ImageEngine:
    def note(what: str, seconds: float | None) -> None:
        if seconds is None:
            told.append(what)

    return ImageEngine(engine.model, compiler=Compiler("eager", on_compile=note))


def test_other_prompts_seeds_samplers_and_steps_need_no_other_graphs(
    compiled: ImageEngine, told: list[str], request_for: RequestFor
) -> None:
    request = request_for(cache=DeepCache(interval=3), steps=3)
    compiled.warm_up([request])
    assert told == [FULL, REUSE.format(0)]
    assert compiled.compiler is not None
    assert compiled.compiler.counters.eager == 2  # one evaluation of each pass, not a whole picture
    others = [
        replace(request, prompt="a car on a yellow background", negative_prompt="a fox"),
        replace(request, seed=9, steps=4),
        replace(request, guidance_scale=7.0, cache=DeepCache(interval=4, forecast="verbatim")),
        # some have whole timesteps, some have not
        *(replace(request, sampler=sampler) for sampler in ("heun", "dpmpp_2m", "ddim", "pndm", "lcm")),
    ]
    for other in others:
        assert compiled.generate(other).report.reuse_passes > 0
    assert told == [FULL, REUSE.format(0)]
    assert compiled.compiler.counters.failures == []


def test_what_is_another_graph_is_made_when_it_comes(
    compiled: ImageEngine, told: list[str], request_for: RequestFor
) -> None:
    request = request_for(cache=DeepCache(interval=3), steps=2)
    compiled.warm_up([request])
    compiled.generate(replace(request, width=128))
    compiled.generate(replace(request, cache=DeepCache(interval=3, branch=2)))
    assert len(told) == 2 * 3
    assert told[2:] == [
        "eager: full pass, 2 x 4 x 8 x 16",
        "eager: reuse pass at branch 0, 2 x 4 x 8 x 16",
        FULL,
        REUSE.format(2),
    ]


@pytest.mark.parametrize("cache", ["balanced", "fast", "lossless", "mixed"])
def test_plans_and_mixed_branches_are_warmed_up_too(
    compiled: ImageEngine, told: list[str], request_for: RequestFor, cache: str
) -> None:
    mixed = DeepCache(passes=(None, 0, 3, None, 0, 0, None, 3, 0, None))
    request = request_for(cache=mixed if cache == "mixed" else cache, steps=10)
    compiled.warm_up([request])
    made = list(told)
    assert made[0] == FULL
    if cache == "mixed":
        assert made == [FULL, REUSE.format(0), REUSE.format(3)]
    drawn = compiled.generate(request)
    compiled.generate(replace(request, seed=8, prompt="a car on a yellow background"))
    assert told == made
    assert ("r" in drawn.report.passes) == (cache != "lossless")


def test_a_picture_is_that_of_the_engine_without_a_compiler(
    engine: ImageEngine, compiled: ImageEngine, request_for: RequestFor
) -> None:
    for sampler in ("euler", "dpmpp_2m"):
        request = request_for(sampler=sampler, steps=4, cache=DeepCache(interval=3))
        compiled.warm_up([request])
        plain = engine.generate(request).latents
        assert torch.equal(compiled.generate(request).latents, plain)
        assert not torch.equal(compiled.generate(replace(request, seed=4)).latents, plain)


def test_a_request_that_cannot_be_drawn_is_refused(compiled: ImageEngine, request_for: RequestFor) -> None:
    with pytest.raises(OptionError, match="cache must be one of"):
        compiled.warm_up([request_for(cache="best")])
    compiled.warm_up([])
