"""Forecasts and plans for video against verbatim reuse and fewer steps: the figures of docs/video.md.

Run `python benchmarks/video_quality.py` in the environment of `make test`, with case names to run only some. Every
candidate makes the same clips, from pictures of the demo SDXL, with the motion bucket and the seed changing from clip
to clip, as the uncached run of the same steps. No plan has seen the pictures, and calibrations saw another one. It
writes `benchmarks/results/video-<case>-cpu.json` and `.md`; with `--rows TEXT`, only rows that have TEXT in their names
are measured, and replaced there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from forecast_quality import RESULTS, Row, environment, psnrs, table

from skipstep import DeepCache
from skipstep.deepcache import CalibrationMemory, late_schedule
from skipstep.engine import load_model
from skipstep.engine.caches import resolve_cache
from skipstep.engine.models import DEMO_SVD, VIDEO_FAMILIES
from skipstep.engine.samplers import new_scheduler
from skipstep.engine.video_bench import ClipBench, ClipSettings, Start
from skipstep.engine.video_starts import demo_starts
from skipstep.plan.presets import LOSSLESS

SPEEDS = {2: "quality", 3: "balanced"}  # by FLOPs, and the preset whose plan is as fast


@dataclass(frozen=True, kw_only=True)
class Case:
    """One setting."""

    model: str = DEMO_SVD
    steps: int = 25
    frames: int = 14
    speeds: tuple[int, ...] = (2, 3)


CASES = {
    "svd-25": Case(),
    "svd-12": Case(steps=12),
    "svd-8-frames": Case(frames=8),
}


def most_full_passes(steps: int, speed: float, reuse: float) -> int:
    """How many of the evaluations may be full at a speed-up by FLOPs."""
    return max(1, int((steps / speed - steps * reuse) / (1 - reuse) + 1e-6))


def candidates(case: Case, model: Any, reuse: float) -> Iterator[Row]:
    """Every row of a case: the same number of full passes at each speed."""
    for speed in case.speeds:
        full = most_full_passes(case.steps, speed, reuse)
        fewer = max(1, round(full + (case.steps - full) * reuse))
        even = tuple(index * case.steps // full for index in range(full))
        late = tuple(late_schedule(case.steps, full).full_evaluations)
        yield Row(f"fewer steps ({fewer})", LOSSLESS, fewer)
        for forecast in ("verbatim", "linear", "calibrated"):
            yield Row(f"{forecast}, even, {speed}x", DeepCache(full_evaluations=even, forecast=forecast))
        for forecast in ("verbatim", "linear", "calibrated"):
            yield Row(f"{forecast}, late, {speed}x", DeepCache(full_evaluations=late, forecast=forecast))
        scheduler = new_scheduler("euler", model.pipe.scheduler.config)
        cache = resolve_cache(SPEEDS[speed], model, sampler="euler", steps=case.steps, scheduler=scheduler)
        kind = "preset" if cache.options.passes is None else "plan"
        yield Row(f"{kind} {SPEEDS[speed]}", cache.options)


def measure(case: Case, clips: int, only: str) -> list[Row]:
    """All rows whose names have `only` in them."""
    model = load_model(case.model, families=VIDEO_FAMILIES)
    width, height = model.size
    settings = ClipSettings(
        steps=case.steps, guidance_scale=model.guidance_scale, width=width, height=height, frames=case.frames
    )
    *starts, other = demo_starts(clips + 1)
    calibrations = CalibrationMemory()
    first = ClipBench(model, settings, [Start(name=other.name, picture=other.picture)], first_seed=77)
    ((_, report),) = first.run(DeepCache(forecast="calibrated"), calibrations=calibrations)
    assert report.flops is not None
    bench = ClipBench(model, settings, starts)
    share = report.flops.reuse / report.flops.full
    rows = [row for row in candidates(case, model, share) if only in row.name]
    for row in rows:
        made = bench.run(row.options, steps=row.steps, calibrations=calibrations)
        row.passes = made[0][1].passes
        row.flop_speedup = case.steps / (row.steps or case.steps) * (made[0][1].flop_ceiling or float("nan"))
        row.psnr = psnrs(bench.reference, torch.stack([latents.float() for latents, _ in made]))
        print(f"  {row.name}: {median(row.psnr):.2f} dB, x{row.flop_speedup:.2f}", flush=True)
    return rows


def merged(known: list[dict[str, Any]], figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a file with those that were measured again in their places."""
    again = {row["candidate"]: row for row in figures}
    return [again.get(row["candidate"], row) for row in known]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"any of {', '.join(CASES)}; all if none")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--rows", default="", metavar="TEXT", help="measure only those that have TEXT in their names")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; cases are {', '.join(CASES)}")
    torch.set_num_threads(1)
    for name in arguments.cases or CASES:
        case = CASES[name]
        path: Path = RESULTS / f"video-{name}-cpu"
        rows = measure(case, arguments.clips, arguments.rows)
        figures = [row.figures(arguments.clips) for row in rows]
        if arguments.rows:
            figures = merged(json.loads(path.with_suffix(".json").read_text())["rows"], figures)
        facts = {**environment(case, arguments.clips), "seeds": 1}
        path.with_suffix(".json").write_text(json.dumps({"environment": facts, "rows": figures}, indent=1) + "\n")
        path.with_suffix(".md").write_text(table(name, figures) + "\n")
        print(table(name, figures), flush=True)


if __name__ == "__main__":
    main()
