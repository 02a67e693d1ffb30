"""Clips for plans and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from skipstep import DeepCache
from skipstep.engine.planning import held_out_figures, new_planner, yardsticks
from skipstep.engine.video import VideoEngine
from skipstep.engine.video_bench import ClipBench, ClipSettings, Start
from skipstep.engine.video_request import VideoRequest
from skipstep.engine.video_starts import MOTIONS, demo_starts, read_starts
from skipstep.errors import OptionError

SETTINGS = ClipSettings(steps=10, guidance_scale=2.0, width=64, height=64, frames=2)


def _starts(count: int) -> list[Start]:
    colours = [(70, 130, 225), (220, 60, 60), (90, 185, 100), (245, 220, 90)]
    return [
        Start(name=str(index), picture=Image.new("RGB", (64, 64), colours[index % 4]), motion=60 + 40 * index)
        for index in range(count)
    ]


def test_each_clip_is_the_engines_own(video_engine: VideoEngine) -> None:
    bench = ClipBench(video_engine.model, SETTINGS, _starts(2), first_seed=5)
    options = DeepCache(interval=3)
    made = bench.latents(options)
    assert made.shape == (2, 2, 4, 8, 8)
    for index, start in enumerate(bench.starts):
        request = VideoRequest(
            picture=start.picture,
            motion=start.motion,
            frames=2,
            width=64,
            height=64,
            steps=10,
            max_guidance=2.0,
            seed=5 + index,
            cache=options,
        )
        assert torch.equal(made[index], video_engine.generate(request).latents)
    assert bench.latents(options, prompts=1).shape[0] == 1
    assert not torch.equal(bench.latents(options, steps=12), made)
    assert len(bench.pictures(options)) == 4


@pytest.mark.slow
def test_the_planner_takes_clips(video_engine: VideoEngine) -> None:
    bench = ClipBench(video_engine.model, SETTINGS, _starts(2))
    planner = new_planner(bench, [0])
    trial = planner.best(5)
    assert trial.passes.count(None) == 5
    figures = held_out_figures(ClipBench(video_engine.model, SETTINGS, _starts(3)[2:], first_seed=9), trial)
    assert figures["latent_psnr_db"] > 10
    assert figures["flop_speedup"] == pytest.approx(10 / (5 + 5 * planner.measured.work[0]), rel=0.01)
    verbatim, fewer = yardsticks(bench, planner)
    assert len(verbatim) == len(fewer) == 3


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.webp"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    starts = read_starts(tmp_path)
    assert [start.name for start in starts] == [
        f"{name}, motion {motion}" for name, motion in zip(("a.jpg", "b.png", "c.webp"), MOTIONS, strict=True)
    ]
    assert len(read_starts(tmp_path, 2)) == 2


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds no picture"):
        read_starts(tmp_path)
    with pytest.raises(OptionError, match="must be a folder of pictures"):
        read_starts(tmp_path / "nowhere")


def test_the_demo_draws_its_own() -> None:
    starts = demo_starts(2)
    assert [start.motion for start in starts] == list(MOTIONS[:2])
    assert {start.picture.size for start in starts} == {(128, 128)}
