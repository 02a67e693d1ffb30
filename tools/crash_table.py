"""Measures CRaSh's choices on SmolLM2: `python tools/crash_table.py`, about 15 minutes on one thread.

The model is that of `skipstep prompt fetch --transformers`, and the text Python's own documentation of its syntax;
see docs/crash.md. For each choice of layers: the emulator's perplexity before and after tuning, that of the full model
with the tuned layers plugged in, and the share of the gain of direct tuning that it keeps.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor

from skipstep.adapters.crash import Composition, Emulator, outer_layers, plug, propose, trained_outer_layers, tune
from skipstep.adapters.loop import LoopOptions, mean_loss

LENGTH = 128


def documents(folder: Path) -> Tensor:
    """The topics one after the other, in their order by name, as rows (count, 128) of tokens."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    text = "\n\n".join(topics[name] for name in sorted(topics))
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    return tokens[: len(tokens) // LENGTH * LENGTH].view(-1, LENGTH)


def batches(rows: Tensor, *, size: int) -> Iterator[dict[str, Tensor]]:
    """Rows in groups."""
    for start in range(0, len(rows) - size + 1, size):
        yield {"input_ids": rows[start : start + size]}


def main() -> None:
    """Print the table as Markdown, a line as soon as it is known."""
    from transformers import AutoModelForCausalLM

    from skipstep.promptllm import unpacked_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--keep", type=int, default=18)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.base or unpacked_model()
    full: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    order = torch.randperm(len(rows := documents(folder)), generator=torch.Generator().manual_seed(0))
    read, held_out, trained = rows[order].split([8, 16, len(rows) - 24])
    loop = LoopOptions(steps=arguments.steps, learning_rate=1e-4, warm_up_steps=2)

    def losses(composition: Composition) -> tuple[float, float, float]:
        emulator = Emulator(full, composition)
        before = mean_loss(emulator.model, batches(held_out, size=4))
        tune(emulator, batches(trained, size=2), loop)
        after = mean_loss(emulator.model, batches(held_out, size=4))
        with plug(full, trained_outer_layers(emulator)):
            return before, after, mean_loss(full, batches(held_out, size=4))

    total = full.config.num_hidden_layers
    start = mean_loss(full, batches(held_out, size=4))
    everything = propose(full, (), keep=total - len(outer_layers(total)), selection="uniform")
    direct = losses(everything)[2]
    print(f"untuned {math.exp(start):.2f}, tuned directly {math.exp(direct):.2f}\n")
    print("| kept | removed | emulator | tuned | plugged in | of the gain |\n|---|---|---|---|---|---|", flush=True)
    for selection in ("influence", "uniform", "cka"):
        for removed in ("drop", "share"):
            composition = propose(
                full, list(batches(read, size=4)), keep=arguments.keep, selection=selection, removed=removed
            )
            before, after, plugged = losses(composition)
            kept = (start - plugged) / (start - direct)
            perplexities = " | ".join(f"{math.exp(loss):,.4g}" for loss in (before, after, plugged))
            print(f"| {selection} | {removed} | {perplexities} | {kept:.0%} |", flush=True)


if __name__ == "__main__":
    main()
