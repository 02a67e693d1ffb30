"""Clips that do not fit are refused, with figures and a remedy that then does fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skipstep import DeepCache
from skipstep.engine import video_memory
from skipstep.engine.video import VideoEngine
from skipstep.engine.video_decode import FrameDecoder
from skipstep.engine.video_memory import GIB, check_memory
from skipstep.engine.video_request import VideoRequest
from skipstep.errors import NoMemoryError

ClipOf = Callable[..., VideoRequest]
OPTIONS = DeepCache(interval=3)


@pytest.mark.slow
def test_parts_grow_with_what_they_depend_on(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    pipe = video_engine.model.pipe
    request = video_engine.complete(clip_of(frames=4, decode_chunk=2))
    base = video_memory.video_memory(pipe, request, OPTIONS)
    longer = video_memory.video_memory(pipe, replace(request, frames=8), OPTIONS)
    assert longer.unet == pytest.approx(2 * base.unet, rel=0.15)
    assert longer.features == 2 * base.features
    assert longer.decoder == base.decoder
    more = video_memory.video_memory(pipe, replace(request, decode_chunk=4), OPTIONS)
    assert more.decoder > 1.5 * base.decoder
    assert more.features == base.features
    half = video_memory.video_memory(pipe, request, replace(OPTIONS, feature_dtype="bfloat16"))
    assert 2 * half.features == base.features


def test_features_are_what_the_run_reports(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    for forecast in ("verbatim", "linear"):
        options = DeepCache(interval=3, forecast=forecast)
        request = video_engine.complete(clip_of(cache=options))
        counted = video_memory.video_memory(video_engine.model.pipe, request, options)
        assert video_engine.generate(request).report.cache_bytes == counted.features > 0


def test_what_fits_by_far_is_not_counted(
    video_engine: VideoEngine, clip_of: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_memory, "video_memory", lambda *_: pytest.fail("counted"))
    monkeypatch.setattr(video_memory, "free_bytes", lambda _: 100 * GIB)
    check_memory(video_engine.model.pipe, video_engine.complete(clip_of()), OPTIONS)


@pytest.mark.parametrize(
    ("frames", "chunk", "share", "remedy"),
    [(8, 8, 0.9, "--decode-chunk 4"), pytest.param(24, 1, 0.7, "--frames 14", marks=pytest.mark.slow)],
)
def test_what_does_not_fit_names_what_would(
    video_engine: VideoEngine,
    clip_of: ClipOf,
    monkeypatch: pytest.MonkeyPatch,
    frames: int,
    chunk: int,
    share: float,
    remedy: str,
) -> None:
    pipe = video_engine.model.pipe
    request = video_engine.complete(clip_of(frames=frames, decode_chunk=chunk))
    needed = video_memory.video_memory(pipe, request, OPTIONS)
    free = int(share * needed.peak)
    monkeypatch.setattr(video_memory, "free_bytes", lambda _: free)
    with pytest.raises(NoMemoryError) as refusal:
        video_engine.generate(request)
    message = str(refusal.value)
    assert message.startswith(f"{frames} frames of 64 x 64 take at least")
    assert remedy in message
    changes = {name.replace("-", "_"): int(value) for name, value in re.findall(r"--([a-z-]+) (\d+)", message)}
    smaller = video_memory.video_memory(pipe, replace(request, **changes), OPTIONS)
    assert smaller.peak < free


def test_nothing_fits(video_engine: VideoEngine, clip_of: ClipOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_memory, "free_bytes", lambda _: 1000)
    with pytest.raises(NoMemoryError, match="use a smaller --width and --height"):
        video_engine.generate(clip_of())


def test_the_devices_own_refusal_is_explained(
    video_engine: VideoEngine, clip_of: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FrameDecoder, "decode", fail)
    with pytest.raises(NoMemoryError, match="3 frames of 64 x 64 take at least"):
        video_engine.generate(clip_of())
