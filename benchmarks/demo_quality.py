"""Quality against speed on the demo model: fewer steps, verbatim and linear reuse at equal cost.

Run `python benchmarks/demo_quality.py` in the environment of `make test`; it writes a JSON and a Markdown table into
`benchmarks/results/`. Every candidate draws the same 64 prompts and seeds as the uncached run of the same sampler, in
batches of 16; within a batch all take turns and the order is swapped from batch to batch.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from skipstep import DeepCache, speed_up
from skipstep.demo import load_demo_sdxl
from skipstep.engine.metrics import image_psnr, image_ssim, latent_psnr
from skipstep.engine.samplers import new_scheduler

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from demo_model.evaluate import evaluation_subjects

STEPS, GUIDANCE, BATCH = 30, 3.0, 16
LOSSLESS = DeepCache(interval=1)


@dataclass
class Row:
    """One candidate and what it scored, one figure a prompt (times: one a batch)."""

    name: str
    cost: str
    steps: int
    options: DeepCache
    ceiling: float = 1.0
    ratios: list[float] = field(default_factory=list)
    latent: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Medians over prompts; the ratio with its smallest and largest round."""
        return {
            "candidate": self.name,
            "cost": self.cost,
            "steps": self.steps,
            "flop_ratio": round(self.ceiling, 2),
            "time_ratio": round(median(self.ratios), 2),
            "time_ratio_min": round(min(self.ratios), 2),
            "time_ratio_max": round(max(self.ratios), 2),
            "latent_psnr_db": round(median(self.latent), 1),
            "image_psnr_db": round(median(self.psnr), 1),
            "ssim": round(mean(self.ssim), 4),
        }


def candidates(branches: list[int]) -> list[Row]:
    """Fewer steps and every forecast and branch, at intervals 2, 3 and 5."""
    rows = []
    for interval in (2, 3, 5):
        cost = f"{interval}x"
        rows.append(Row("fewer steps", cost, STEPS // interval, LOSSLESS))
        for forecast in ("verbatim", "linear"):
            for branch in branches:
                name = f"{forecast}, branch {branch}"
                rows.append(Row(name, cost, STEPS, DeepCache(interval=interval, branch=branch, forecast=forecast)))
    return rows


def sample(pipe: Any, prompts: list[str], first_seed: int, row: Row) -> tuple[torch.Tensor, float, float | None]:
    """Latents (batch, 4, 16, 16), seconds of the sampling loop, FLOP ceiling."""
    seeds = [torch.Generator().manual_seed(first_seed + i) for i in range(len(prompts))]
    with speed_up(pipe, row.options) as run:
        latents = pipe(
            prompts, num_inference_steps=row.steps, guidance_scale=GUIDANCE, generator=seeds, output_type="latent"
        ).images
    return latents, run.report.loop_s, run.report.flop_ceiling


def measure(sampler: str, rows: list[Row], prompts: list[str]) -> None:
    """Fill `rows` for one sampler."""
    pipe = load_demo_sdxl()
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = new_scheduler(sampler, pipe.scheduler.config)
    baseline = Row("uncached", "1x", STEPS, LOSSLESS)
    for turn, first in enumerate(range(0, len(prompts), BATCH)):
        batch = prompts[first : first + BATCH]
        made = {}
        order = [baseline, *rows]
        for row in order if turn % 2 == 0 else reversed(order):
            made[id(row)] = sample(pipe, batch, first, row)
        reference, seconds, _ = made[id(baseline)]
        images = decode(pipe, reference)
        for row in rows:
            latents, took, ceiling = made[id(row)]
            row.ceiling = STEPS / row.steps * (ceiling or math.nan)
            row.ratios.append(seconds / took)
            pairs = zip(reference, latents, images, decode(pipe, latents), strict=True)
            for one, other, image, candidate in pairs:
                row.latent.append(latent_psnr(one, other))
                row.psnr.append(image_psnr(image, candidate))
                row.ssim.append(image_ssim(image, candidate))
        print(f"{sampler}: {first + len(batch)} of {len(prompts)} prompts", flush=True)


@torch.no_grad()
def decode(pipe: Any, latents: torch.Tensor) -> Any:
    """Pictures of a batch of latents."""
    return pipe.image_processor.postprocess(pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample)


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    from importlib.metadata import version

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit.stdout.strip(),
        "versions": {name: version(name) for name in ("skipstep", "torch", "diffusers", "transformers")},
        "python": platform.python_version(),
        "device": f"CPU, {torch.get_num_threads()} thread(s)",
        "dtype": "float32",
        "size": "128 x 128",
        "steps": STEPS,
        "guidance": GUIDANCE,
    }


def table(sampler: str, rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        f"### {sampler}, {STEPS} steps",
        "",
        "| cost | candidate | latents, dB | images, dB | SSIM | FLOP ratio | time ratio (min-max) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        f = row.figures()
        lines.append(
            f"| {f['cost']} | {f['candidate']} | {f['latent_psnr_db']} | {f['image_psnr_db']} | {f['ssim']:.4f} "
            f"| {f['flop_ratio']} | {f['time_ratio']} ({f['time_ratio_min']}-{f['time_ratio_max']}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samplers", nargs="+", default=["euler", "dpmpp_2m"])
    parser.add_argument("--branches", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demo-quality-cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prompts = [subject.prompt for subject in evaluation_subjects(arguments.prompts)]
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d")}
    texts = []
    for sampler in arguments.samplers:
        rows = candidates(arguments.branches)
        measure(sampler, rows, prompts)
        result[sampler] = [row.figures() for row in rows]
        texts.append(table(sampler, rows))
        print(texts[-1])
    arguments.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text("\n\n".join(texts) + "\n")


if __name__ == "__main__":
    main()
