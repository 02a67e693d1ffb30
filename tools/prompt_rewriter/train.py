"""Trains the prompt-rewriting LoRA: `python -m prompt_rewriter.train OUT` in tools/.

It needs what `skipstep prompt fetch` got, eleven CPU-minutes and 4 GB. Interrupted, `--resume` goes on.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from skipstep.adapters import base_of_folder
from skipstep.adapters.sidecar import sidecar_bytes
from skipstep.adapters.training import Sft, TrainingFiles, TrainingOptions, train_adapter
from skipstep.promptllm import training_chats, unpack_model

from .data import write_data
from .subjects import HELD_OUT, SUBJECTS

OPTIONS = TrainingOptions(
    method=Sft(kind="lora"),
    steps=80,
    batch=2,
    learning_rate=6e-3,
    warm_up_steps=3,
    seed=1,
    rank=4,
    alpha=16.0,
    targets=("q_proj", "v_proj", "o_proj"),
    max_tokens=1024,
    dtype="float16",
    checkpoint_every=20,
)


def main() -> None:
    """Write the data, train, and note for which model the adapter is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, default=OPTIONS.steps)
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = unpack_model()
    options = replace(OPTIONS, steps=given.steps)
    with tempfile.TemporaryDirectory() as folder:
        data, held_out = Path(folder) / "data.jsonl", Path(folder) / "held-out.jsonl"
        write_data(data, SUBJECTS, chats=32, length=8, seed=1)
        write_data(held_out, HELD_OUT, chats=4, length=1, seed=2)
        made = train_adapter(
            TrainingFiles(base=base, data=data, out=given.out, held_out=held_out),
            options,
            chats=training_chats(),
            resume=given.resume,
            progress=lambda step: print(f"{step.step + 1}/{step.steps} {step.loss:.3f}", flush=True),
        )
    # it serves every quantisation of this model, whose embeddings differ
    fingerprint = replace(base_of_folder(base).fingerprint, sample="")
    (given.out / "skipstep.json").write_bytes(sidecar_bytes(fingerprint))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(made)
    print(f"{used.ru_utime + used.ru_stime:.0f} CPU-seconds, {used.ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
