"""Rows in turns: ratios, quality, ceilings and counts, by hand on a fake and against the core on tiny UNets."""

from __future__ import annotations

import math
import sys
from statistics import median
from typing import Any

import pytest
import torch
from fakes_of_bench import FULL, REUSE, FakeSubject, picture, run_fake

from skipstep import DeepCache, speed_up
from skipstep.bench import BenchCase, BenchResult, BenchRow, as_dict, run_case
from skipstep.bench.loop import UNetLoop
from skipstep.bench.subjects import shortened
from skipstep.compile import CompileOptions
from skipstep.engine.metrics import image_psnr, image_ssim, latent_psnr
from skipstep.errors import OptionError, SkipstepError

FEW = CompileOptions(max_graphs=5)  # is for the eager backend too
LINEAR = DeepCache(interval=3)
VERBATIM = DeepCache(interval=3, forecast="verbatim")
BASE = BenchRow(name="base")
QUICK = BenchRow(name="quick", reuse=LINEAR)


def test_ratios_are_the_baselines_time_of_the_same_round_over_the_rows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject({"base": 6.0, "quick": 2.0, "slow": 12.0}, runs=2)
    rows = (BASE, QUICK, BenchRow(name="slow"))
    result = run_fake(monkeypatch, subject, rows, rounds=3)
    assert [row.row.name for row in result.rows] == ["base", "quick", "slow"]
    assert [row.ratios for row in result.rows] == [[1.0] * 3, [3.0] * 3, [0.5] * 3]
    assert [row.ratio for row in result.rows] == [1.0, 3.0, 0.5]
    names = [name for name, _ in subject.calls]
    assert names[:3] == ["base", "quick", "slow"]  # warming up
    in_turns = ["base", "base", "quick", "quick", "slow", "slow"]
    assert names[3:] == [*in_turns, *reversed(in_turns), *in_turns]
    assert [index for _, index in subject.calls[3:]] == [0, 1] * 9
    assert [row.warm_up_s for row in result.rows] == [6.0, 2.0, 12.0]


def test_a_machine_that_slows_down_favours_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject({"base": 1.0, "same": 1.0}, drift=0.05)
    result = run_fake(monkeypatch, subject, (BASE, BenchRow(name="same")), rounds=4)
    ratios = result.rows[1].ratios
    assert ratios[0] < 1 < ratios[1]  # later is slower, and each was later in turn
    assert median(ratios) == pytest.approx(1, abs=0.01)


def test_one_thread_goes_by_its_own_seconds_and_more_by_the_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_fake(monkeypatch, FakeSubject({"base": 4.0, "quick": 1.0}), (BASE, QUICK))
    assert result.clock == "cpu"
    figures = as_dict(result)["rows"][1]
    assert (figures["wall_s_per_run"], figures["cpu_s_per_run"], figures["steps_per_s"]) == (1.0, 2.0, 4.0)
    try:
        more = run_fake(monkeypatch, FakeSubject({"base": 4.0, "quick": 1.0}), (BASE, QUICK), threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert more.clock == "wall"


def test_shares_of_the_ceiling_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        BASE,
        BenchRow(name="half the steps", steps=2),
        BenchRow(name="compiled", compile=FEW),
        BenchRow(name="eager reuse", reuse=LINEAR),
        BenchRow(name="both", compile=FEW, reuse=LINEAR),
        BenchRow(name="other compiler", compile=CompileOptions(max_graphs=6), reuse=LINEAR),
    )
    costs = {"base": 8, "half the steps": 5, "compiled": 4, "eager reuse": 5, "both": 2.5, "other compiler": 2.5}
    result = run_fake(monkeypatch, FakeSubject(costs), rows)
    ceiling = 4 * FULL / (2 * FULL + 2 * REUSE)  # FrrF against FFFF
    ceilings = [row.flop_ceiling(4) for row in result.rows]
    assert ceilings == [1, 2, 1, ceiling, ceiling, ceiling]
    shares = [result.reached(row) for row in result.rows]
    assert shares == pytest.approx([1, 1.6 / 2, 1, 1.6 / ceiling, 3.2 / (2 * ceiling), 3.2 / ceiling])


def test_equal_pictures_and_the_worst_of_those_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject(dict.fromkeys(("base", "same", "quick"), 1.0), runs=2)
    subject.images = lambda row, index: picture(index if row.name != "quick" else 7 * index)
    changed = torch.arange(8.0) + torch.tensor([0, 0, 0, 0, 0, 0, 0, 0.5])
    subject.latents = lambda row, _: changed if row.name == "quick" else torch.arange(8.0)
    result = run_fake(monkeypatch, subject, (BASE, BenchRow(name="same"), QUICK))
    base, same, quick = result.rows
    assert same.psnr == same.latent_psnr == [math.inf] * 2
    assert (same.ssim, same.latent_error) == ([1.0] * 2, [0.0] * 2)
    assert base.latent_error == [0.0] * 2
    assert quick.psnr == [math.inf, image_psnr(picture(1), picture(7))]
    assert quick.ssim == [1.0, image_ssim(picture(1), picture(7))]
    assert quick.latent_psnr == [latent_psnr(torch.arange(8.0), changed)] * 2
    assert quick.latent_error == pytest.approx([0.5 / 7] * 2)
    figures = as_dict(result)["rows"]
    assert [row["psnr_db"] for row in figures] == [None, None, quick.psnr[1]]
    assert figures[2]["ssim"] == quick.ssim[1]
    assert figures[2]["latent_relative_error"] == quick.latent_error[0]


def test_latents_that_are_no_numbers_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject({"base": 1.0, "nan": 1.0, "inf": 1.0})
    values = {"base": 1.0, "nan": math.nan, "inf": math.inf}
    subject.latents = lambda row, _: torch.tensor([0.0, values[row.name]])
    result = run_fake(monkeypatch, subject, (BASE, BenchRow(name="nan"), BenchRow(name="inf")))
    assert [row.latent_error for row in result.rows] == [[0.0], [math.inf], [math.inf]]
    assert [row["is_finite"] for row in as_dict(result)["rows"]] == [True, False, False]


def test_what_reuse_makes_of_random_weights_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject(dict.fromkeys(("base", "compiled", "quick", "fewer"), 1.0))
    subject.images = lambda *_: None
    rows = (BASE, BenchRow(name="compiled", compile=FEW), QUICK, BenchRow(name="fewer", steps=2))
    result = run_fake(monkeypatch, subject, rows, random_weights=True, model="sdxl-tiny")
    assert [row.latent_error for row in result.rows] == [[0.0], [0.0], [], []]
    assert [row.psnr for row in result.rows] == [[]] * 4


def test_a_row_that_cannot_run_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "DeepCache", None)
    subject = FakeSubject({"base": 2.0, "quick": 1.0})
    subject.refusal = {"refused": OptionError("not with this model")}
    rows = (
        BASE,
        BenchRow(name="refused"),
        BenchRow(name="graphs", compile=CompileOptions(cuda_graphs=True)),
        BenchRow(name="peer", peer="deepcache"),
        QUICK,
    )
    result = run_fake(monkeypatch, subject, rows)
    assert [row.skipped and row.skipped[:40] for row in result.rows] == [
        None,
        "not with this model",
        "cuda_graphs is not for the eager backend",
        "the peer deepcache is not installed: pip",
        None,
    ]
    assert result.rows[4].ratio == 2
    assert [row.ratios for row in result.rows[1:4]] == [[]] * 3


def test_without_its_baseline_a_case_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject({"quick": 1.0})
    subject.refusal = {"base": OptionError("not with this model")}
    with pytest.raises(SkipstepError, match="the baseline cannot run here: not with this model"):
        run_fake(monkeypatch, subject, (BASE, QUICK))


def test_a_bug_of_a_row_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject({"base": 1.0})
    subject.refusal = {"quick": ZeroDivisionError()}
    with pytest.raises(ZeroDivisionError):
        run_fake(monkeypatch, subject, (BASE, QUICK))


def test_each_row_has_the_graphs_that_its_own_runs_made(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject(dict.fromkeys(("base", "compiled", "both"), 1.0), runs=2)
    subject.compiles = {"compiled": 1, "both": 2}
    rows = (BASE, BenchRow(name="compiled", compile=FEW), BenchRow(name="both", compile=FEW, reuse=LINEAR))
    result = run_fake(monkeypatch, subject, rows)
    assert result.rows[0].compiled == {}
    counted = [(row.compiled["compiles"], row.compiled["hits"], row.compiled["failures"]) for row in result.rows[1:]]
    assert counted == [(1, 5, []), (2, 5, [])]  # one run to warm up, two rounds of two


@pytest.mark.parametrize(
    ("row", "steps", "branches"),
    [
        (BASE, 2, (0,)),
        (BenchRow(name="a", steps=20), 2, (0,)),
        (BenchRow(name="a", reuse=DeepCache(interval=5, branch=2)), 2, (2,)),
        (BenchRow(name="a", reuse=DeepCache(tolerance=0.1, branch=1)), 2, (1,)),
        (BenchRow(name="a", reuse=DeepCache(passes=(None, 0, 3))), None, (0, 3)),
        (BenchRow(name="a", cache="fast"), None, None),
        (BenchRow(name="a", peer="deepcache", reuse=VERBATIM), None, (0,)),
    ],
)
def test_warming_up_takes_few_steps_and_the_branches_of_the_row(
    row: BenchRow, steps: int | None, branches: tuple[int, ...] | None
) -> None:
    short = shortened(row)
    assert short.name == row.name  # and with it the peer
    assert short.steps == steps
    assert (short.reuse.branches if short.reuse is not None else None) in (branches, None)
    if row.reuse is not None and steps is not None:
        assert short.reuse is not None
        for evaluations in (2, 3):  # Heun's makes three of two steps
            schedule = short.reuse.schedule(evaluations=evaluations)
            assert [schedule.is_full(index) for index in range(evaluations)] == [True] + [False] * (evaluations - 1)


def tiny(model: str, *rows: BenchRow, **options: Any) -> BenchResult:
    return run_case(
        BenchCase(
            title="T", model=model, random_weights=True, width=64, height=64, steps=4, rounds=1,
            device="cpu", dtype="float32", rows=rows, **options,
        )
    )  # fmt: skip


@pytest.mark.parametrize(("model", "frames"), [("sdxl-tiny", None), ("svd-tiny", 2)])
def test_figures_of_a_tiny_unet_are_those_that_the_core_reports(model: str, frames: int | None) -> None:
    rows = (BASE, BenchRow(name="quick", reuse=VERBATIM), BenchRow(name="fewer", steps=2))
    rows += (BenchRow(name="compiled", compile=FEW, reuse=VERBATIM),)
    result = tiny(model, *rows, frames=frames)
    loop = UNetLoop(
        model, width=64, height=64, frames=frames, guidance_scale=5.0, device=torch.device("cpu"), dtype=torch.float32
    )
    with pytest.warns(UserWarning, match="4 steps"), speed_up(loop, VERBATIM) as run:
        latents = loop(steps=4, seed=0)
    base, quick, fewer, compiled = as_dict(result)["rows"]
    assert [row["passes"] for row in (base, quick, fewer, compiled)] == ["FFFF", "FrrF", "FF", "FrrF"]
    assert torch.equal(result.rows[1].made[0].latents, latents)
    assert torch.equal(result.rows[3].made[0].latents, latents)
    assert not torch.equal(result.rows[0].made[0].latents, latents)
    assert base["flop_ceiling"] == 1
    assert fewer["flop_ceiling"] == 2
    assert quick["flop_ceiling"] == run.report.flop_ceiling
    assert 1 < quick["flop_ceiling"] < 2
    assert quick["cache_mib"] * 2**20 == run.report.cache_bytes > 0
    own = result.rows[1].report
    assert own is not None
    assert quick["ms_full"] == 1000 * median(own.full_s)
    assert quick["ms_reuse"] == 1000 * median(own.reuse_s)
    assert base["ms_reuse"] is None
    assert quick["ms_reuse"] < quick["ms_full"]
    assert fewer["steps_per_s"] == 2 / fewer["wall_s_per_run"]
    counted = compiled["compiled"]
    assert counted["eager"] == 2 + 4  # the warm-up's two evaluations and the round's four
    assert (counted["compiles"], counted["hits"], counted["failures"]) == (0, 0, [])
    assert compiled["graph_cache"] is None


def test_the_unet_is_left_as_it_was_and_calibrating_is_part_of_warming_up() -> None:
    calibrated = BenchRow(name="calibrated", reuse=DeepCache(interval=3, forecast="calibrated"))
    result = tiny("sdxl-tiny", BASE, calibrated)
    report = result.rows[1].report
    assert report is not None
    assert report.passes == "FrrF"  # an uncached run calibrated before
