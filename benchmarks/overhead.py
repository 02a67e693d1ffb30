"""What session and split cost in Python: a reuse evaluation through them against the bare shallow view.

Run `python benchmarks/overhead.py`. Both call the same view on the same tiny SDXL-shaped UNet, in turns.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import torch

from skipstep.deepcache import DeepCacheSession, DiffusersUNetSplit, ExplicitSchedule, LinearForecast
from skipstep.demo import load_demo_sdxl

ROUNDS = 500


@torch.no_grad()
def main() -> None:
    """Print the median cost per evaluation in milliseconds."""
    torch.set_num_threads(1)
    unet = load_demo_sdxl().unet
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor(500), torch.randn(2, 77, 128))
    named = {"added_cond_kwargs": {"text_embeds": torch.randn(2, 64), "time_ids": torch.ones(2, 6)}}
    split = DiffusersUNetSplit(unet, 0)
    for forecast in (None, LinearForecast()):
        session = DeepCacheSession(split, ExplicitSchedule([0, 1]), forecast)
        session("key", *inputs, **named)
        session("key", *inputs, **named)
        split._slot.features = split.full(*inputs, **named)[1]
        bare: list[float] = []
        ours: list[float] = []
        for turn in range(ROUNDS):
            calls = [(bare, split._shallow), (ours, partial(session, "key"))]
            for times, call in calls if turn % 2 == 0 else calls[::-1]:
                split._slot.features = session._streams["key"].histories[0][-1][1]
                start = time.perf_counter()
                call(*inputs, **named)
                times.append(time.perf_counter() - start)
        name = type(session.forecast).__name__
        gap = median(o - b for o, b in zip(ours, bare, strict=True))
        times = (1e3 * median(bare), 1e3 * median(ours), 1e3 * gap)
        print("{}: bare view {:.3f} ms, session {:.3f} ms, overhead {:.3f} ms".format(name, *times))


if __name__ == "__main__":
    main()
