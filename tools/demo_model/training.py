"""What every training here shares: a step-based learning rate, an average of the weights, checkpoints, a log."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of one training; the same settings on one thread give the same weights."""

    steps: int
    batch: int
    lr: float
    seed: int = 1
    decay_from: float = 0.65  # fraction of the steps after which the learning rate falls linearly to 2 %
    ema: float = 0.999
    checkpoint: Path
    threads: int = 1


def learning_rate(settings: Settings, step: int) -> float:
    """Warm up over 100 steps, stay, then fall linearly."""
    start = settings.decay_from * settings.steps
    fall = max(0.0, (step - start) / max(1.0, settings.steps - start))
    return settings.lr * min(1.0, (step + 1) / 100) * (1 - 0.98 * fall)


def train(
    module: nn.Module,
    trained: list[nn.Parameter],
    loss_of: Callable[[random.Random, torch.Generator], Tensor],
    settings: Settings,
) -> None:
    """Minimise `loss_of` and leave the averaged weights in `module`; resume from the checkpoint if there is one."""
    rng, noise = random.Random(settings.seed), torch.Generator().manual_seed(settings.seed)
    average = [p.detach().clone() for p in trained]
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    step = 0
    if settings.checkpoint.exists():
        state = torch.load(settings.checkpoint, weights_only=False)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        average, step = state["average"], state["step"]
        rng.setstate(state["rng"])
        noise.set_state(state["noise"])
    running, clock, saved = 0.0, time.monotonic(), time.monotonic()
    first = step
    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        loss = loss_of(rng, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.data for p in trained], 1 - min(settings.ema, step / (step + 20)))
        running += (loss.item() - running) * max(0.01, 1 / (step - first))
        if time.monotonic() - clock > 60 or step == settings.steps:
            clock = time.monotonic()
            print(f"step {step}/{settings.steps} loss {running:.4f} cpu {time.process_time():.0f} s", flush=True)
        if time.monotonic() - saved > 300 or step == settings.steps:
            saved = time.monotonic()
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            _save({**state, "step": step, "rng": rng.getstate(), "noise": noise.get_state()}, settings.checkpoint)
    with torch.no_grad():
        for parameter, averaged in zip(trained, average, strict=True):
            parameter.copy_(averaged)


def load_average(parameters: list[nn.Parameter], checkpoint: Path) -> int:
    """Put a checkpoint's averaged weights into `parameters`, in the order they were trained; return its step."""
    state = torch.load(checkpoint, weights_only=False)
    with torch.no_grad():
        for parameter, averaged in zip(parameters, state["average"], strict=True):
            parameter.copy_(averaged)
    return int(state["step"])


def _save(state: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)
