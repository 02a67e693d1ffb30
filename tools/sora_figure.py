"""Draws rank and loss over the penalty of SoRA: `python tools/sora_figure.py`, under a minute on one thread.

The model is a tiny random Llama that is frozen, and the text a synthetic language; see docs/sora.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_llm import batches, language, tiny_llama

from skipstep.adapters.loop import LoopOptions, mean_loss
from skipstep.adapters.sora import SoraOptions, SoraTraining, attach, rising_schedule, train_sora

TARGET = Path(__file__).parents[1] / "docs/sora-rank-loss.png"
PENALTIES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


@dataclass(frozen=True)
class Point:
    """One run; the rank is the average over modules, the loss on held-out text."""

    penalty: float
    rank: float
    loss: float


def measure(model: Any, penalty: float, *, steps: int, rank: int, seed: int) -> Point:
    """Train with this penalty and measure."""
    table = language(1)
    training = SoraTraining(
        loop=LoopOptions(steps=steps, learning_rate=1e-2, warm_up_steps=10, seed=seed),
        schedule=rising_schedule(penalty, steps=steps),
        sora=SoraOptions(rank=rank, alpha=2.0 * rank, seed=seed),
    )
    state = train_sora(model, batches(table, count=steps, seed=seed * 1000), training)
    with attach(model, state):
        loss = mean_loss(model, batches(table, count=8, seed=10_000))
    return Point(penalty, state.average_rank(), loss)


def figure(points: Sequence[Point], *, before: float, steps: int, rank: int) -> Any:
    """Rank on the left axis and loss on the right one, as a matplotlib figure of 800 x 450 pixels."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    ranks = drawing.add_subplot()
    losses = ranks.twinx()
    penalties = [point.penalty for point in points]
    ranks.plot(penalties, [point.rank for point in points], color="#1f6feb", marker="o", label="average rank")
    losses.plot(penalties, [point.loss for point in points], color="#cf222e", marker="s", label="held-out loss")
    losses.axhline(before, color="#9aa5b1", linestyle="--", label="loss without the adapter")
    ranks.set_xlabel("penalty (lambda)")
    ranks.set_ylabel(f"average rank of {rank}")
    ranks.set_ylim(bottom=0)
    losses.set_ylabel("loss, nats a token")
    ranks.set_title(f"SoRA on a tiny Llama, {steps} steps")
    ranks.grid(alpha=0.3)
    lines = [*ranks.get_lines(), *losses.get_lines()]
    losses.legend(lines, [str(line.get_label()) for line in lines], loc="center right", bbox_to_anchor=(1, 0.35))
    return drawing


def main() -> None:
    """Run all penalties, print a table and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = tiny_llama()
    before = mean_loss(model, batches(language(1), count=8, seed=10_000))
    print(f"without the adapter: loss {before:.4f}")
    points = []
    for penalty in PENALTIES:
        point = measure(model, penalty, steps=arguments.steps, rank=arguments.rank, seed=arguments.seed)
        print(f"penalty {penalty:5.1f}: rank {point.rank:.2f}, loss {point.loss:.4f}")
        points.append(point)
    drawing = figure(points, before=before, steps=arguments.steps, rank=arguments.rank)
    drawing.savefig(arguments.out, metadata={"Software": None})


if __name__ == "__main__":
    main()
