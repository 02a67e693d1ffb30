"""What a plan is to reach, with planners that can be worked out by hand, and whole jobs on the demo model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from skipstep import DeepCache
from skipstep.engine import ImageEngine, plan_job
from skipstep.engine.plan_job import PlanJob, check_plan_output
from skipstep.engine.plan_plot import pareto
from skipstep.engine.plan_targets import Target, reach_target
from skipstep.engine.prompt_bench import PromptBench, RunSettings
from skipstep.errors import MissingExtraError, OptionError, OutputError, PlanError
from skipstep.plan import Measured, Planner, Trial, load_plan

REUSE = 0.1
SETTINGS = RunSettings(sampler="euler", steps=10, guidance_scale=3.0, width=64, height=64)
SEARCHED = ("a fox on a blue background", "a cat on a red background")


class _Planner:
    """20 evaluations; nothing is run."""

    evaluations = 20
    measured = SimpleNamespace(work={0: REUSE})

    def __init__(self) -> None:
        self.searched: list[int] = []

    def most_full_passes(self, speedup: float) -> int:
        return max((n for n in range(20) if 20 / (n + (20 - n) * REUSE) >= speedup), default=0)

    def best(self, full_passes: int) -> Trial:
        self.searched.append(full_passes)
        passes = (None,) * full_passes + (0,) * (20 - full_passes)
        return Trial(passes=passes, slopes=None, work=full_passes + (20 - full_passes) * REUSE, psnr=0.0)


def _figures(fewer: Callable[[int], float] = lambda _: 0.0) -> Callable[[Trial], dict[str, Any]]:
    """30 dB and one more for every full pass; LPIPS falls."""

    def figures(trial: Trial) -> dict[str, Any]:
        full = trial.passes.count(None)
        return {
            "full_passes": full,
            "flop_speedup": round(trial.speedup, 3),
            "latent_psnr_db": 30.0 + full,
            "lpips": 1 / (10 + full),
            "fewer_steps": round(20 / trial.speedup),
            "fewer_steps_db": fewer(full),
        }

    return figures


def _reach(target: Target, fewer: Callable[[int], float] = lambda _: 0.0) -> tuple[Any, _Planner]:
    planner = _Planner()
    return reach_target(planner, target, _figures(fewer)), planner  # type: ignore[arg-type]


@pytest.mark.parametrize("full", range(1, 20))
def test_bisection_finds_the_fewest_full_passes(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, planner = _reach(Target(psnr=30.0 + full))
    assert outcome.trial.passes.count(None) == outcome.figures["full_passes"] == full
    assert len(planner.searched) == len(set(planner.searched)) <= 6
    monkeypatch.setattr("skipstep.engine.plan_targets.load_lpips", lambda: None)
    outcome, _ = _reach(Target(lpips=1 / (10 + full) + 1e-9))
    assert outcome.figures["full_passes"] == full


def test_what_cannot_be_reached_says_what_can() -> None:
    with pytest.raises(PlanError, match=r"60 dB cannot be reached in 20 evaluations: .* gives 49\. Run it uncached"):
        _reach(Target(psnr=60))


def test_a_speed_beyond_the_ceiling_is_refused_by_name() -> None:
    class Bench:
        def latents(self, options: DeepCache, *, prompts: int | None = None) -> Tensor:
            return torch.zeros(1, 1)

    planner = Planner(Bench(), Measured(responses={}, gains=(1.0,) * 20, work={0: REUSE}), lambda *_: 0.0)
    ceiling = 20 / (1 + 19 * REUSE)
    with pytest.raises(PlanError, match=rf"^7x cannot be reached: .* reuse passes of 10.0 % leave {ceiling:.2f}x"):
        reach_target(planner, Target(speed=7), _figures())
    for speed in (1.01, 2, 3.3, 5, ceiling):
        assert planner.most_full_passes(speed) == _Planner().most_full_passes(speed) > 0


@pytest.mark.parametrize(
    "goals", [{}, {"speed": 3, "psnr": 40}, {"speed": 1}, {"speed": 101}, {"psnr": 9}, {"lpips": 1}]
)
def test_exactly_one_target_in_its_range(goals: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Target(**goals)


def test_nan_is_no_target() -> None:
    for name in ("speed", "psnr", "lpips"):
        with pytest.raises(OptionError):
            Target(**{name: math.nan})


def test_fewer_steps_are_advised_where_they_win() -> None:
    outcome, planner = _reach(Target(speed=4), fewer=lambda _: 40.0)
    assert outcome.trial.passes.count(None) == 3
    assert outcome.figures["flop_speedup"] >= 4
    assert planner.searched == [3, *range(4, 12)]
    first, second = outcome.advice
    assert "5 uncached steps cost as much and are nearer to the full run (40.0 against 33.0 dB)" in first
    assert second.startswith("caching pays from 11 full passes on: 1.68x at 41.0 dB, where 12 uncached steps give 40.0")
    outcome, planner = _reach(Target(speed=4), fewer=lambda _: 99.0)
    assert len(outcome.advice) == 1
    assert _reach(Target(speed=4))[0].advice == ()
    assert len(_reach(Target(psnr=33), fewer=lambda _: 40.0)[0].advice) == 1


def test_pareto_keeps_what_nothing_beats() -> None:
    points = [(1.0, 50.0), (2.0, 40.0), (2.0, 41.0), (3.0, 42.0), (4.0, 30.0)]
    assert pareto(points) == [(1.0, 50.0), (3.0, 42.0), (4.0, 30.0)]


@pytest.fixture
def job(engine: ImageEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanJob:
    def figures(_: PromptBench, trial: Trial) -> dict[str, Any]:
        return _figures()(trial)

    monkeypatch.setattr(plan_job, "held_out_figures", figures)
    return _job(engine, tmp_path / "a.json")


def _job(engine: ImageEngine, out: Path, *, first_seed: int = 0) -> PlanJob:
    bench = PromptBench(engine.model, SETTINGS, SEARCHED, first_seed=first_seed)
    return PlanJob(search=bench, held_out=bench, branches=(0,), out=out)


def _ignore(text: str) -> None:
    pass


def test_an_interrupted_search_goes_on_where_it_stopped(
    engine: ImageEngine, job: PlanJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[DeepCache] = []
    latents = PromptBench.latents

    def counted(bench: PromptBench, options: DeepCache, **more: Any) -> Tensor:
        runs.append(options)
        return latents(bench, options, **more)

    heard: list[str] = []

    def interrupt(text: str) -> None:
        heard.append(text)
        if len(heard) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(PromptBench, "latents", counted)
    with pytest.raises(KeyboardInterrupt):
        job.run(Target(speed=3), interrupt)
    assert len(runs) == 1 + 5  # the reference and five schedules, each told of before it is run
    folder, progress = job.out.parent, job.out.with_name("a.progress.json")
    assert list(folder.iterdir()) == [progress]
    left = progress.read_bytes()

    assert _job(engine, job.out, first_seed=1).progress.resumed == 0  # another search
    assert progress.read_bytes() == left
    before = list(runs)
    runs.clear()
    again, heard_again = _job(engine, job.out), list[str]()
    assert again.progress.resumed == 5
    outcome = again.run(Target(speed=3), heard_again.append)
    assert "measuring the model" not in heard_again
    assert not {options.passes for options in before[1:]} & {o.passes for o in runs if o.forecast == "linear"}
    resumed = len(runs)

    names = {file.name for file in folder.iterdir()}
    assert names == {"a.json", "a.safetensors", "a.png", "a.svg"}
    with Image.open(folder / "a.png") as picture:
        assert picture.size == (960, 600)
        picture.load()
    assert ElementTree.parse(folder / "a.svg").getroot().tag.endswith("}svg")
    plan = load_plan(job.out)
    assert plan.passes == outcome.trial.passes
    assert 20 > len(plan.passes) / outcome.trial.work >= 3
    assert plan.measured["latent_psnr_db"] == 30 + plan.passes.count(None)

    runs.clear()
    fresh = _job(engine, folder / "b.json").run(Target(speed=3), _ignore)
    assert fresh.trial == outcome.trial
    assert len(runs) == resumed + 5
    assert (folder / "b.safetensors").read_bytes() == (folder / "a.safetensors").read_bytes()


def test_a_damaged_progress_file_is_not_used(engine: ImageEngine, tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"settings": {}}'):
        (tmp_path / "a.progress.json").write_text(text)
        progress = _job(engine, tmp_path / "a.json").progress
        assert (progress.resumed, progress.measured, progress.get("x")) == (0, None, None)
        progress.put("x", math.inf)
        assert _job(engine, tmp_path / "a.json").progress.get("x") == math.inf


def test_a_place_that_cannot_be_written_to_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.json").mkdir()
    for name, error, message in (
        ("a.txt", OptionError, "must end in .json"),
        ("folder.json", OutputError, "is a folder"),
        ("missing/a.json", OutputError, "no such file or directory"),
    ):
        with pytest.raises(error, match=message):
            check_plan_output(tmp_path / name)
    check_plan_output(tmp_path / "a.json")
    assert [file.name for file in tmp_path.iterdir()] == ["folder.json"]
    monkeypatch.setattr(plan_job, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install 'skipstep\\[plot\\]'"):
        check_plan_output(tmp_path / "a.json")


def test_the_weights_of_a_model_are_not_replaced_by_slopes(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    save_file({"unet.weight": torch.ones(2)}, weights)
    with pytest.raises(OptionError, match="would replace .*model.safetensors, which is not of a plan"):
        check_plan_output(tmp_path / "model.json")
    save_file({"reach": torch.ones(2)}, weights)
    check_plan_output(tmp_path / "model.json")  # an older plan may be replaced
