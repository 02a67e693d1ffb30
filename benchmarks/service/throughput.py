"""Pictures per second and seconds per picture with the demo model: one after the other, static batches, and joining.

    python benchmarks/service/throughput.py --clients 8 --pictures 32

Each client sends the next request when its picture is there. The modes take turns, on one thread of the CPU; the
differences of a row from its picture alone are printed, too. Ratios count here, and times only on a GPU.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from skipstep_service.engines.models import ServedModel

from skipstep.batching import ContinuousBatch, Row
from skipstep.engine import ImageEngine, ImageRequest, load_model
from skipstep.engine.image import GeneratedImage

THINGS = ("red apple", "fox", "frog", "rocket", "cat", "strawberry", "turtle", "house")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One mode, once."""

    pictures_per_s: float
    median_s: float
    slowest_s: float
    mean_rows: float
    difference: float  # of latents, relative, the largest


def requests(count: int, seed: int) -> list[ImageRequest]:
    chance = random.Random(seed)
    return [
        ImageRequest(
            prompt=f"a {chance.choice(THINGS)} on a blue background",
            seed=index,
            steps=chance.choice((20, 25, 30)),
            guidance_scale=chance.choice((2.0, 3.0, 5.0)),
            cache="balanced",
        )
        for index in range(count)
    ]


def serve(model: ServedModel, asked: list[ImageRequest], *, clients: int, rows: int, joins: bool) -> Any:
    """Let so many clients send requests; their pictures, seconds and the rows of each pass."""
    batch = ContinuousBatch(model.loaded.pipe.unet, max_rows=rows)
    waiting = deque(enumerate(asked[:clients]))
    behind = deque(enumerate(asked[clients:], start=clients))
    sent = dict.fromkeys(range(clients), time.perf_counter())
    running: dict[int, Row[GeneratedImage]] = {}
    made: dict[int, GeneratedImage] = {}
    seconds, sizes = [], []
    while waiting or running:
        if not running or (joins and batch.is_joinable):
            while waiting and len(running) < rows:
                index, request = waiting.popleft()
                running[index] = batch.start(_drawing(model, request))
        tick = batch.step()
        if tick is not None:
            sizes.append(len(tick.rows))
        now = time.perf_counter()
        for index in [index for index, row in running.items() if row.is_done]:
            row = running.pop(index)
            assert row.result is not None, row.error
            made[index] = row.result
            seconds.append(now - sent[index])
            if behind:
                waiting.append(behind.popleft())
                sent[waiting[-1][0]] = now
    return made, seconds, sizes


def _drawing(model: ServedModel, request: ImageRequest) -> Callable[[Any], GeneratedImage]:
    return lambda split: ImageEngine(model.own(), model.calibrations, split).generate(request)


def measure(model: ServedModel, asked: list[ImageRequest], alone: dict[int, Any], **options: Any) -> Sample:
    started = time.perf_counter()
    made, seconds, sizes = serve(model, asked, **options)
    total = time.perf_counter() - started
    differences = [float((made[index].latents - latents).norm() / latents.norm()) for index, latents in alone.items()]
    return Sample(
        pictures_per_s=len(made) / total,
        median_s=statistics.median(seconds),
        slowest_s=max(seconds),
        mean_rows=statistics.fmean(sizes),
        difference=max(differences),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = ServedModel(loaded=load_model("demo"))
    asked = requests(arguments.pictures, seed=0)
    engine = ImageEngine(model.own(), model.calibrations)
    alone = {index: engine.generate(request).latents for index, request in enumerate(asked[:8])}
    modes: dict[str, dict[str, Any]] = {
        "one after the other": {"rows": 1, "joins": False},
        "static batches": {"rows": arguments.clients, "joins": False},
        "phase-aligned": {"rows": arguments.clients, "joins": True},
    }
    samples: dict[str, list[Sample]] = {name: [] for name in modes}
    for turn in range(arguments.rounds):
        for name in list(modes) if turn % 2 == 0 else list(modes)[::-1]:
            samples[name].append(measure(model, asked, alone, clients=arguments.clients, **modes[name]))
    base = [one.pictures_per_s for one in samples["one after the other"]]
    rows = []
    for name, taken in samples.items():
        ratio = statistics.median(one.pictures_per_s / other for one, other in zip(taken, base, strict=True))
        middle = sorted(taken, key=lambda one: one.pictures_per_s)[len(taken) // 2]
        rows.append(
            {"mode": name, "ratio": round(ratio, 3), **{k: round(v, 7) for k, v in vars(replace(middle)).items()}}
        )
    print(json.dumps({**vars(arguments), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
