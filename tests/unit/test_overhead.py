"""The Python between the pipeline and the shallow blocks costs little."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from types import SimpleNamespace

import pytest
import torch
from models import TinyUNet

from skipstep import DeepCache, speed_up
from skipstep.deepcache import DeepCacheSession, DiffusersUNetSplit, ExplicitSchedule

CALLS = 200
LIMIT_S = 2e-3  # four times what we ask of ourselves, for a machine that has other things to do


def seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


@torch.no_grad()
def test_a_reuse_pass_costs_little_more_than_its_blocks(
    tiny_sdxl: TinyUNet, capsys: pytest.CaptureFixture[str]
) -> None:
    args, kwargs = tiny_sdxl.inputs(0, (8, 8))
    latents, timestep, context = args
    split = DiffusersUNetSplit(tiny_sdxl.unet, 0)
    _, split._slot.features = split.full(*args, **kwargs)
    bare = DiffusersUNetSplit(tiny_sdxl.unet, 0)
    bare._slot.features = split._slot.features
    session = DeepCacheSession(split, ExplicitSchedule([0]))
    pipe = SimpleNamespace(unet=tiny_sdxl.unet)
    times: dict[str, list[float]] = {"bare": [], "session": [], "pipeline": []}
    with speed_up(pipe, DeepCache(full_evaluations=(0,))) as run:
        calls: dict[str, Callable[[], object]] = {
            "bare": lambda: bare._shallow(*args, **kwargs),
            "session": lambda: session("key", *args, **kwargs),
            "pipeline": lambda: pipe.unet(latents, timestep.clone(), context, **kwargs),
        }
        for turn in range(CALLS):
            for name in list(calls)[:: 1 if turn % 2 else -1]:
                times[name].append(seconds(calls[name]))
        assert run._session is not None
        assert session.log.kinds == run._session.log.kinds == "F" + "r" * (CALLS - 1)
    for name in ("session", "pipeline"):
        over = median(times[name]) - median(times["bare"])
        with capsys.disabled():
            print(f"\noverhead of the {name} per reuse pass: {over * 1e3:.3f} ms")  # noqa: T201
        assert over < LIMIT_S
