"""Comparisons over many pictures, against the same figures worked out one picture at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from skipstep import DeepCache
from skipstep.engine import GeneratedImage, ImageEngine, ImageRequest
from skipstep.engine._contenders import steps_at_equal_cost
from skipstep.engine.quality import measure_quality
from skipstep.engine.quality_rows import QualityResult
from skipstep.engine.quality_study import QualityStudy
from skipstep.errors import OptionError, UnsupportedFeatureError

PROMPTS = ("a fox on a blue background", "a cat on a red background")
SEEDS = (3, 8)
STEPS = 10
BASE = ImageRequest(prompt="", width=64, height=64, steps=STEPS)
THIRD = DeepCache(interval=3)
CANDIDATES = {"third": THIRD, "same cost": DeepCache(interval=3, forecast="verbatim"), "all full": "lossless"}


def _darkness(reference: Image.Image, image: Image.Image) -> float:
    """In place of LPIPS: any function of two pictures that is 0 for equal ones."""
    return float(np.asarray(reference, np.float64).mean() - np.asarray(image, np.float64).mean())


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture(scope="module")
def result(engine: ImageEngine, told: list[tuple[int, int, str]]) -> QualityResult:
    study = QualityStudy(request=BASE, prompts=PROMPTS, seeds=SEEDS, candidates=CANDIDATES)
    return measure_quality(engine, study, lpips=_darkness, on_picture=lambda *news: told.append(news))


def _draw(engine: ImageEngine, **options: Any) -> GeneratedImage:
    return engine.generate(replace(BASE, prompt=PROMPTS[1], seed=8, **options))


def _psnr_by_hand(reference: Image.Image, image: Image.Image) -> float:
    gap = np.asarray(reference, np.float64) - np.asarray(image, np.float64)
    return float(20 * np.log10(255 / np.sqrt((gap**2).mean())))


@pytest.mark.parametrize(
    ("name", "options"),
    [("third", {"cache": THIRD}), ("4 uncached steps", {"steps": 4, "cache": "lossless"})],
)
def test_a_case_is_that_picture_against_the_uncached_one_of_its_seed(
    engine: ImageEngine, result: QualityResult, name: str, options: dict[str, Any]
) -> None:
    reference, made = _draw(engine, cache="lossless"), _draw(engine, **options)
    case = result.row(name).cases[-1]
    assert (case.prompt, case.seed) == (PROMPTS[1], 8)
    assert case.psnr == pytest.approx(_psnr_by_hand(reference.image, made.image))
    gap = (reference.latents - made.latents).double().norm() / reference.latents.double().norm()
    assert case.latent_relative_error == pytest.approx(gap.item())
    assert case.lpips == _darkness(reference.image, made.image)
    assert case.lpips != 0
    assert len({other.psnr for other in result.row(name).cases}) == len(PROMPTS) * len(SEEDS)


def test_fewer_steps_stand_at_the_cost_of_the_candidate(engine: ImageEngine, result: QualityResult) -> None:
    ceiling = _draw(engine, cache=THIRD).report.flop_ceiling
    assert ceiling is not None
    assert round(STEPS / ceiling) == 4
    fewer = result.row("4 uncached steps")
    assert (fewer.steps, fewer.passes, fewer.flop_ratio) == (4, "FFFF", STEPS / 4)
    assert result.row("third").flop_ratio == pytest.approx(ceiling)
    assert result.row("third").passes == "FrrFrrFrrF"
    assert fewer.cases[0].latent_psnr != result.row("third").cases[0].latent_psnr


@pytest.mark.parametrize(
    ("steps", "evaluations", "ceiling", "fewer"),
    [
        (30, 30, 2.82, 11),
        (30, 30, 1.0, 30),
        (10, 19, 19 / 5, 3),  # Heun: three steps take five evaluations
        (10, 11, 11 / 4, 3),  # PNDM: three steps take four
        (10, 10, 100.0, 1),
    ],
)
def test_equal_cost_is_counted_in_evaluations(steps: int, evaluations: int, ceiling: float, fewer: int) -> None:
    assert steps_at_equal_cost(steps, evaluations=evaluations, ceiling=ceiling) == fewer


def test_equal_fewer_steps_rows_are_drawn_once(result: QualityResult) -> None:
    assert [row.name for row in result.rows] == ["third", "4 uncached steps", "same cost", "all full"]
    assert result.row("4 uncached steps").stands_for == ("third", "same cost")
    assert result.row("third").equal_cost == result.row("same cost").equal_cost == "4 uncached steps"
    assert [row.is_candidate for row in result.rows] == [True, False, True, True]


def test_a_lossless_candidate_gives_the_same_pictures_and_has_no_cheaper_rival(result: QualityResult) -> None:
    row = result.row("all full")
    assert row.identical == len(row.cases) == 4
    assert {case.psnr for case in row.cases} == {math.inf}
    assert row.equal_cost is None
    assert result.gain(row) is None
    assert result.row("third").identical == 0


def test_the_gain_is_paired(result: QualityResult) -> None:
    row, fewer = result.row("third"), result.row("4 uncached steps")
    gains = [one.latent_psnr - two.latent_psnr for one, two in zip(row.cases, fewer.cases, strict=True)]
    gain = result.gain(row)
    assert gain is not None
    assert gain.median == pytest.approx(np.median(gains))
    assert (gain.lowest, gain.highest) == (min(gains), max(gains))
    assert gain.interval is not None
    assert gain.interval[0] <= gain.median <= gain.interval[1]


def test_the_worst_pictures_are_shared_out_among_the_candidates(engine: ImageEngine, result: QualityResult) -> None:
    worst = {name: sorted(case.latent_psnr for case in result.row(name).cases) for name in ("third", "same cost")}
    shown = [(pair.row, pair.case.latent_psnr) for pair in result.worst]
    assert len(shown) == 5
    assert set(shown[:2]) == {(name, levels[0]) for name, levels in worst.items()}
    assert set(shown[2:4]) == {(name, levels[1]) for name, levels in worst.items()}
    pair = result.worst[0]
    uncached = engine.generate(replace(BASE, prompt=pair.case.prompt, seed=pair.case.seed, cache="lossless"))
    assert np.array_equal(np.asarray(pair.reference), np.asarray(uncached.image))
    assert not np.array_equal(np.asarray(pair.reference), np.asarray(pair.image))


def test_every_picture_is_told_and_the_order_is_swapped(
    result: QualityResult, told: list[tuple[int, int, str]]
) -> None:
    rows = ["uncached", *(row.name for row in result.rows)]
    names = [name for _, _, name in told]
    assert names == [*CANDIDATES, *rows, *rows[::-1], *rows, *rows[::-1]]
    assert [done for done, _, _ in told] == list(range(1, len(told) + 1))
    assert told[-1][1] == len(told)
    assert all(total >= len(told) for _, total, _ in told)


def test_figures_are_kept_prompt_by_prompt(result: QualityResult) -> None:
    wanted = [(prompt, seed) for prompt in PROMPTS for seed in SEEDS]  # intervals draw whole prompts
    for row in result.rows:
        assert [(case.prompt, case.seed) for case in row.cases] == wanted
        assert row.seeds == len(SEEDS)
        estimate = row.estimate("ssim")
        assert estimate is not None
        assert estimate.median == pytest.approx(np.median([case.ssim for case in row.cases]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": ()}, "prompts must be one or more, got none"),
        ({"seeds": (1,)}, "seeds must be two or more, got 1"),
        ({"seeds": (1, 1)}, "seeds must be two or more, got 1"),
        ({"seeds": (1, 2, 1)}, "seeds must differ, got 1 twice"),
        ({"seeds": (0, -1)}, "seed must be 0..4294967295, got -1"),
        ({"prompts": ("a", "b", "a")}, "prompts must differ, got 'a' twice"),
        ({"candidates": {}}, "candidates must be one or more, got none"),
        ({"candidates": {"uncached": "fast"}}, "must have a name other than 'uncached'"),
        ({"candidates": {"a": 3}}, "cache must be"),
    ],
)
def test_what_cannot_be_compared_is_refused(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"request": BASE, "prompts": PROMPTS, "candidates": CANDIDATES, **options}
    with pytest.raises(OptionError) as refusal:
        QualityStudy(**given)
    assert message in str(refusal.value)


def _study(**candidates: Any) -> QualityStudy:
    return QualityStudy(request=BASE, prompts=PROMPTS, candidates=candidates or {"third": THIRD})


def _with_changed_pictures(monkeypatch: pytest.MonkeyPatch, change: Callable[[GeneratedImage], GeneratedImage]) -> None:
    draw = ImageEngine.generate
    monkeypatch.setattr(ImageEngine, "generate", lambda *given: change(draw(*given)))


def test_values_that_are_not_numbers_are_refused(engine: ImageEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_changed_pictures(monkeypatch, lambda made: replace(made, latents=made.latents * math.nan))
    with pytest.raises(OptionError, match="uncached drew values that are not numbers .* dtype float32"):
        measure_quality(engine, _study())


def test_a_model_whose_flops_cannot_be_counted_is_refused(engine: ImageEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_changed_pictures(monkeypatch, lambda made: replace(made, report=replace(made.report, flops=None)))
    with pytest.raises(UnsupportedFeatureError, match="no equal cost to compare at"):
        measure_quality(engine, _study())


def test_a_candidate_cannot_take_the_name_of_a_fewer_steps_row(engine: ImageEngine) -> None:
    with pytest.raises(OptionError, match="must not be called '4 uncached steps'"):
        measure_quality(engine, _study(**{"4 uncached steps": THIRD}))


def test_a_first_run_that_only_measures_does_not_tell_the_cost(
    engine: ImageEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = ImageEngine.generate
    drawn: list[ImageRequest] = []

    def measuring_first(own: ImageEngine, request: ImageRequest) -> GeneratedImage:
        drawn.append(request)
        return draw(own, replace(request, cache="lossless") if len(drawn) == 1 else request)

    monkeypatch.setattr(ImageEngine, "generate", measuring_first)
    result = measure_quality(engine, _study())
    assert [row.name for row in result.rows] == ["third", "4 uncached steps"]
    assert [request.seed for request in drawn[:3]] == [2, 2, 0]  # a seed that is not measured, twice


def test_a_plan_file_goes_by_its_name(engine: ImageEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "/somewhere/private/my.json"
    draw = ImageEngine.generate

    def with_a_plan(own: ImageEngine, request: ImageRequest) -> GeneratedImage:
        if request.cache != file:
            return draw(own, request)
        made = draw(own, replace(request, cache=THIRD))
        return replace(made, cache_source=f"{file}: plan for euler, 10 steps")

    monkeypatch.setattr(ImageEngine, "generate", with_a_plan)
    result = measure_quality(engine, _study(**{"my.json": file}))
    assert result.row("my.json").source == "my.json: plan for euler, 10 steps"
    assert "private" not in str(result.as_dict())


def test_the_same_study_gives_the_same_figures(engine: ImageEngine, result: QualityResult) -> None:
    torch.manual_seed(99)  # nothing may hang on the global generator
    study = QualityStudy(request=BASE, prompts=PROMPTS[:1], seeds=SEEDS, candidates={"third": THIRD})
    again = measure_quality(engine, study)
    for one, other in zip(again.row("third").cases, result.row("third").cases, strict=False):
        assert (one.latent_psnr, one.psnr, one.ssim) == (other.latent_psnr, other.psnr, other.ssim)
        assert one.lpips is None
    assert again.row("third").estimate("lpips") is None
