"""Writes the tables of docs/forecast.md from the results and the plans: `python benchmarks/forecast_tables.py`."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/forecast.md"
START, END = "<!-- tables -->", "<!-- end of tables -->"
CASES = {
    "euler-30": "Euler, 30 steps, guidance 3",
    "dpmpp_2m-30": "DPM++ 2M, 30 steps, guidance 3",
    "euler-20-cfg6": "Euler, 20 steps, guidance 6",
    "dpmpp_2m-20": "DPM++ 2M, 20 steps",
    "euler-50": "Euler, 50 steps",
    "sd15-euler-30": "The second model (SD1.5's shape, epsilon), Euler, 30 steps",
    "cfg7": "Euler, 30 steps, guidance 7; slopes and plan from guidance 3",
    "lora": "with a random LoRA put on afterwards",
    "wide": "160 x 96 pixels; slopes and plan from 128 x 128",
    "ddim-30": "DDIM, 30 steps: the Euler plan",
    "unipc-30": "UniPC, 30 steps: the plan of the nearest sampler",
    "heun-30": "Heun, 30 steps: the general setting, since no plan fits a sampler with two evaluations a step",
    "euler-25": "Euler, 25 steps: a stretched plan",
}
PRESETS = ("quality", "balanced", "fast")


def case_table(name: str, title: str) -> str:
    """One case's result, under a heading."""
    stem = ROOT / f"benchmarks/results/forecast-{name}-cpu"
    facts = json.loads(stem.with_suffix(".json").read_text())["environment"]
    table = stem.with_suffix(".md").read_text().split("\n", 1)[1].strip()
    return f"### {title}\n\n{facts['prompts']} prompts x {facts['seeds']} seeds.\n\n{table}"


def plan_table() -> str:
    """What the plans that ship measured on their held-out prompts."""
    plans = []
    for file in (ROOT / "src/skipstep/demo/plans").glob("*.json"):
        model, preset, sampler, steps = file.stem.split(".")
        measured = json.loads(file.read_text())["measured"]
        plans.append((model, sampler, int(steps), PRESETS.index(preset), measured))
    lines = [
        "| model, sampler, steps | preset | full passes | FLOP ratio | plan | evenly spaced, linear "
        "| evenly spaced, verbatim | fewer steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model, sampler, steps, preset, measured in sorted(plans, key=lambda plan: plan[:4]):
        decibels = (measured[name] for name in ("latent_psnr_db", "uniform_linear_db", "uniform_verbatim_db"))
        lines.append(
            f"| {model}, {sampler}, {steps} | `{PRESETS[preset]}` | {measured['full_passes']} "
            f"| {measured['flop_speedup']:.2f} | {' | '.join(f'{value:.1f}' for value in decibels)} "
            f"| {measured['fewer_steps_db']:.1f} ({measured['fewer_steps']}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Replace what is between the two marks."""
    text = PAGE.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    tables = "\n\n".join([plan_table(), *(case_table(name, title) for name, title in CASES.items())])
    PAGE.write_text(f"{before}{START}\n\n{tables}\n\n{END}{after}")


if __name__ == "__main__":
    main()
