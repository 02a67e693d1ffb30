"""Forecasts, calibration and plans against verbatim reuse and fewer steps: the figures of docs/forecast.md.

Run `python benchmarks/forecast_quality.py` in the environment of `make test`, with case names to run only some. Every
candidate draws the same held-out prompts with two seeds each as the uncached run of the same sampler, steps and
guidance; no plan or calibration has seen them. It writes `benchmarks/results/forecast-<case>-cpu.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from skipstep import DeepCache
from skipstep.deepcache import CalibrationMemory
from skipstep.engine import load_model
from skipstep.engine.bootstrap import median_estimate
from skipstep.engine.caches import resolve_cache
from skipstep.engine.metrics import latent_psnr
from skipstep.engine.prompt_bench import PromptBench, RunSettings
from skipstep.engine.prompts import demo_prompts
from skipstep.engine.samplers import new_scheduler
from skipstep.plan.presets import LOSSLESS

RESULTS = Path(__file__).parent / "results"
CALIBRATION_PROMPT = "a turtle on a pink background"  # not among the held-out prompts
SEEDS = (0, 1000)  # the first of each prompt's two


@dataclass(frozen=True, kw_only=True)
class Case:
    """One setting and the intervals at which candidates are compared."""

    model: str = "demo"
    sampler: str = "euler"
    steps: int = 30
    guidance: float | None = None
    size: tuple[int, int] | None = None
    intervals: tuple[int, ...] = (2, 3, 5)
    presets: tuple[str, ...] = ("quality", "balanced", "fast")
    calibrate_at: float | None = None  # guidance of the calibrating run, if another
    extra: tuple[str, ...] = ()  # more forecasts, at interval 3
    lora: float | None = None  # deviation of the weights of a random LoRA put on after calibration


CASES = {
    "euler-30": Case(extra=("linear_log_sigma", "quadratic")),
    "dpmpp_2m-30": Case(sampler="dpmpp_2m", extra=("linear_log_sigma", "quadratic")),
    "euler-20-cfg6": Case(steps=20, guidance=6.0),
    "dpmpp_2m-20": Case(sampler="dpmpp_2m", steps=20),
    "euler-50": Case(steps=50, intervals=(3, 7), presets=("balanced", "fast")),
    "sd15-euler-30": Case(model="demo-sd15", presets=()),
    "ddim-30": Case(sampler="ddim", intervals=(3,), presets=("balanced",)),
    "unipc-30": Case(sampler="unipc", intervals=(3,), presets=("balanced",)),
    "heun-30": Case(sampler="heun", intervals=(3,), presets=("balanced",)),
    "euler-25": Case(steps=25, intervals=(3,), presets=("balanced",)),
    "cfg7": Case(guidance=7.0, intervals=(3,), presets=("balanced",), calibrate_at=3.0),
    "lora": Case(intervals=(3,), presets=("balanced",), lora=0.05),
    "wide": Case(size=(160, 96), intervals=(3,), presets=("balanced",)),
}


@dataclass
class Row:
    """One candidate: latent PSNR of every prompt and seed."""

    name: str
    options: DeepCache
    steps: int | None = None
    passes: str = ""
    flop_speedup: float = 1.0
    psnr: list[float] = field(default_factory=list)

    def figures(self, prompts: int) -> dict[str, Any]:
        """Median with its 95 % interval over prompts."""
        clusters = [self.psnr[index::prompts] for index in range(prompts)]
        estimate = median_estimate(clusters)
        low, high = estimate.interval or (estimate.median, estimate.median)
        return {
            "candidate": self.name,
            "full_passes": self.passes.count("F"),
            "flop_speedup": round(self.flop_speedup, 2),
            "latent_psnr_db": round(median(self.psnr), 2),
            "interval_95": [round(low, 2), round(high, 2)],
            "worst_db": round(min(self.psnr), 2),
            "passes": self.passes,
        }


def candidates(case: Case, model: Any) -> Iterator[Row]:
    """Every row of a case."""
    for interval in case.intervals:
        yield Row(f"fewer steps ({max(1, case.steps // interval)})", LOSSLESS, max(1, case.steps // interval))
        for forecast in ("verbatim", "linear", "calibrated"):
            yield Row(f"{forecast}, every {interval}", DeepCache(interval=interval, forecast=forecast))
        spread = DeepCache(interval=interval, forecast="calibrated", spacing="spread")
        yield Row(f"calibrated, as many, spread to the last ({interval})", spread)
    for forecast in case.extra:
        yield Row(f"{forecast}, every 3", DeepCache(interval=3, forecast=forecast))
    for name in case.presets:
        scheduler = new_scheduler(case.sampler, model.pipe.scheduler.config)
        cache = resolve_cache(name, model, sampler=case.sampler, steps=case.steps, scheduler=scheduler)
        yield Row(f"plan {name}", cache.options)


def measure(case: Case, prompts: tuple[str, ...], batch: int, known: set[str]) -> tuple[list[Row], float]:
    """All rows but those known, and the seconds that calibration took."""
    model = load_model(case.model)
    width, height = case.size or model.size
    guidance = model.guidance_scale if case.guidance is None else case.guidance

    def settings(scale: float) -> RunSettings:
        return RunSettings(sampler=case.sampler, steps=case.steps, guidance_scale=scale, width=width, height=height)

    calibrations = CalibrationMemory()
    one = PromptBench(model, settings(case.calibrate_at or guidance), [CALIBRATION_PROMPT], first_seed=77)
    started = time.perf_counter()
    one.run(DeepCache(forecast="calibrated"), calibrations=calibrations)
    seconds = time.perf_counter() - started
    if case.lora is not None:
        add_random_lora(model.pipe.unet, case.lora)
    rows = [row for row in candidates(case, model) if row.name not in known]
    for seed in SEEDS:
        bench = PromptBench(model, settings(guidance), prompts, first_seed=seed, batch=batch)
        reference = bench.latents(LOSSLESS)
        for row in rows:
            made = bench.run(row.options, steps=row.steps, calibrations=calibrations)
            report = made[0][1]
            row.passes = report.passes
            row.flop_speedup = case.steps / (row.steps or case.steps) * (report.flop_ceiling or float("nan"))
            latents = torch.cat([tensor.float().cpu() for tensor, _ in made])
            row.psnr += psnrs(reference, latents)
            print(f"  seed {seed}, {row.name}: {median(row.psnr):.2f} dB, x{row.flop_speedup:.2f}", flush=True)
    return rows, seconds


def add_random_lora(unet: Any, deviation: float) -> None:
    """A seeded LoRA of rank 4 on the attention's queries, keys and values."""
    from peft import LoraConfig

    torch.manual_seed(5)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=deviation)
    unet.requires_grad_(False)


def psnrs(reference: Tensor, latents: Tensor) -> list[float]:
    """Latent PSNR of every picture, dB."""
    return [latent_psnr(one, other) for one, other in zip(reference, latents, strict=True)]


def environment(case: Any, prompts: int) -> dict[str, Any]:
    """What the figures depend on."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("skipstep", "torch", "diffusers", "transformers")},
        "python": platform.python_version(),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "dtype": "float32",
        "prompts": prompts,
        "seeds": len(SEEDS),
        "case": vars(case),
    }


def table(name: str, figures: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        f"### {name}",
        "",
        "| candidate | full passes | FLOP ratio | latent PSNR, dB (95 %) | worst |",
        "|---|---|---|---|---|",
    ]
    for row in figures:
        low, high = row["interval_95"]
        lines.append(
            f"| {row['candidate']} | {row['full_passes']} | {row['flop_speedup']} "
            f"| {row['latent_psnr_db']:.1f} ({low:.1f}-{high:.1f}) | {row['worst_db']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"any of {', '.join(CASES)}; all if none")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--add", action="store_true", help="keep the rows that the results hold; measure the others")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; cases are {', '.join(CASES)}")
    torch.set_num_threads(1)
    prompts = demo_prompts()[: arguments.prompts]
    for name in arguments.cases or CASES:
        case = CASES[name]
        path = RESULTS / f"forecast-{name}-cpu"
        kept = json.loads(path.with_suffix(".json").read_text())["rows"] if arguments.add else []
        rows, seconds = measure(case, prompts, arguments.batch, {row["candidate"] for row in kept})
        figures = kept + [row.figures(len(prompts)) for row in rows]
        figures.sort(key=lambda row: -row["full_passes"])
        result = {"environment": environment(case, len(prompts)), "calibration_s": round(seconds, 2), "rows": figures}
        path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".md").write_text(table(name, figures) + "\n")
        print(table(name, figures), flush=True)


if __name__ == "__main__":
    main()
