"""The video engine on the demo SVD."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from skipstep import DeepCache
from skipstep.engine import load_model, preset
from skipstep.engine.models import VIDEO_FAMILIES
from skipstep.engine.texts import describe_video
from skipstep.engine.video import CHUNK, VideoEngine
from skipstep.engine.video_compare import as_array, compare_videos
from skipstep.engine.video_decode import FrameDecoder
from skipstep.engine.video_request import VideoRequest
from skipstep.errors import BranchError, OptionError, UnsupportedModelError

ClipOf = Callable[..., VideoRequest]


def test_a_clip_is_the_pipelines_own(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    request = clip_of(cache="lossless", motion=200, fps=9, noise=0.05, max_guidance=2.5)
    made = video_engine.generate(request)
    pipe = video_engine.model.pipe
    frames = pipe(
        request.picture,
        height=64,
        width=64,
        num_frames=3,
        num_inference_steps=10,
        max_guidance_scale=2.5,
        fps=9,
        motion_bucket_id=200,
        noise_aug_strength=0.05,
        generator=torch.Generator().manual_seed(3),
    ).frames[0]
    assert np.array_equal(as_array(made.frames), as_array(frames))
    assert as_array(frames).std() > 5
    assert made.report.passes == "F" * 10
    assert made.latents.shape == (3, 4, 8, 8)


@pytest.mark.parametrize(
    "change",
    [{"motion": 20}, {"fps": 12}, {"noise": 0.3}, {"seed": 4}, {"max_guidance": 0.5}, {"min_guidance": 2.0}],
)
def test_every_option_reaches_the_model(video_engine: VideoEngine, clip_of: ClipOf, change: dict[str, float]) -> None:
    request = clip_of(cache="lossless", steps=4, max_guidance=3.0)
    made, other = (video_engine.generate(one) for one in (request, replace(request, **change)))
    assert not torch.equal(made.latents, other.latents)


def test_reuse_passes_are_run_and_told(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    told: list[tuple[int, int, str]] = []
    made = video_engine.generate(
        clip_of(cache=DeepCache(interval=3)), lambda evaluation, total, kind: told.append((evaluation, total, kind))
    )
    assert made.report.passes == "FrrFrrFrrF"
    assert told == [(index, 10, kind) for index, kind in enumerate("FrrFrrFrrF")]
    assert made.report.cache_bytes > 0
    assert 0 < made.decode_s < made.seconds


def test_the_models_own_values_fill_in(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    free = clip_of(width=None, height=None, frames=None)
    complete = video_engine.complete(free)
    assert (complete.width, complete.height, complete.frames) == (128, 128, 14)
    assert complete.max_guidance == video_engine.model.guidance_scale
    assert complete.decode_chunk == 14


def test_high_pictures_turn_a_full_size_models_frame(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    full_size = VideoEngine(replace(video_engine.model, size=(1024, 576), is_demo=False))
    wide, high = (
        full_size.complete(clip_of(picture=Image.new("RGB", size), width=None, height=None, frames=25))
        for size in ((40, 20), (20, 40))
    )
    assert (wide.width, wide.height) == (1024, 576)
    assert (high.width, high.height) == (576, 1024)
    assert wide.decode_chunk == CHUNK


def test_chunks_change_only_what_frames_see_of_each_other(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    whole = video_engine.generate(clip_of(decode_chunk=3))
    parts = video_engine.generate(clip_of(decode_chunk=2))
    assert torch.equal(whole.latents, parts.latents)
    vae, decoder = video_engine.model.pipe.vae, FrameDecoder(video_engine.model.pipe)
    with torch.no_grad():
        first = vae.decode(1 / vae.config.scaling_factor * whole.latents[:2], num_frames=2).sample
        last = vae.decode(1 / vae.config.scaling_factor * whole.latents[2:], num_frames=1).sample
    by_hand = ((torch.cat([first, last]) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1) * 255).round().byte().numpy()
    assert np.array_equal(as_array(decoder.decode(whole.latents, chunk=2)), by_hand)
    assert np.array_equal(as_array(parts.frames), by_hand)
    assert not np.array_equal(as_array(whole.frames), by_hand)


def test_features_may_be_stored_elsewhere(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    request = clip_of(cache=DeepCache(interval=3))
    plain = video_engine.generate(request)
    on_host = video_engine.generate(replace(request, feature_device="cpu"))
    assert torch.equal(plain.latents, on_host.latents)
    half = video_engine.generate(replace(request, feature_dtype="float16"))
    assert half.cache.feature_dtype == "float16"
    assert half.report.cache_bytes == pytest.approx(plain.report.cache_bytes / 2, rel=0.01)
    assert not torch.equal(plain.latents, half.latents)
    assert (plain.latents - half.latents).abs().max() < 0.05 * plain.latents.abs().max()


@pytest.mark.parametrize("size", [(64, 64), (72, 40)])
@pytest.mark.parametrize("frames", [1, 5])
def test_other_sizes_and_counts(video_engine: VideoEngine, clip_of: ClipOf, size: tuple[int, int], frames: int) -> None:
    width, height = size
    made = video_engine.generate(clip_of(width=width, height=height, frames=frames, steps=3, cache="lossless"))
    assert [frame.size for frame in made.frames] == [size] * frames


def test_guidance_of_one_frame_is_that_of_the_last(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    request = clip_of(frames=1, steps=3, cache="lossless", max_guidance=2.5)
    made = [video_engine.generate(replace(request, min_guidance=scale)).latents for scale in (1.0, 2.0)]
    assert torch.equal(*made)
    off = video_engine.generate(replace(request, max_guidance=1.0, min_guidance=3.0))
    assert not torch.equal(off.latents, made[0])


def test_presets_are_those_of_svd(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    made = video_engine.resolve(video_engine.complete(clip_of(cache="lossless")))
    assert made.options == preset("lossless", "svd")
    assert all(preset(name, "svd").branch == 0 for name in ("quality", "balanced", "fast"))  # docs/video.md says why


def test_what_does_not_fit_is_refused(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    with pytest.raises(BranchError):
        video_engine.generate(clip_of(cache=DeepCache(branch=99)))
    with pytest.raises(OptionError, match="feature_device"):
        video_engine.generate(clip_of(cache=DeepCache(interval=2), feature_device="moon"))
    unet = video_engine.model.pipe.unet
    assert type(unet).__name__ == "UNetSpatioTemporalConditionModel"  # nothing of ours is left on the pipeline


def test_models_of_the_other_kind_are_sent_on() -> None:
    with pytest.raises(UnsupportedModelError, match="`skipstep video` runs it"):
        load_model("demo-svd")
    with pytest.raises(UnsupportedModelError, match="`skipstep image` runs it"):
        load_model("demo", families=VIDEO_FAMILIES)


def test_comparison(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    result = compare_videos(video_engine, clip_of(cache=DeepCache(interval=3)))
    assert len(result.psnr) == len(result.ssim) == 3
    assert len(result.flicker) == 2
    assert all(10 < value < math.inf for value in result.psnr)
    assert result.baseline.report.reuse_passes == 0
    assert result.cached.report.reuse_passes == 6
    plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert plain["median_psnr_db"] == pytest.approx(sorted(result.psnr)[1])
    same = compare_videos(video_engine, clip_of(cache="lossless", frames=1, steps=3))
    assert same.psnr == (math.inf,)
    assert same.flicker == ()
    assert same.flicker_ratio is None
    assert json.loads(json.dumps(same.as_dict(), allow_nan=False))["psnr_db"] == [None]


def test_calibration_is_kept_between_clips(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    engine = VideoEngine(video_engine.model)
    cache = DeepCache(interval=3, forecast="calibrated")
    first, second = (engine.generate(clip_of(cache=cache, seed=seed)) for seed in (1, 2))
    assert first.report.reuse_passes == 0
    assert second.report.passes == "FrrFrrFrrF"


def test_the_clip_says_how_it_was_made(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    made = video_engine.generate(clip_of(cache=DeepCache(interval=3), motion=99))
    texts = describe_video(made, {"more": 1})
    assert "Motion bucket: 99" in texts["parameters"]
    assert "4 full + 6 reuse" in texts["parameters"]
    run = json.loads(texts["skipstep"])
    assert run["more"] == 1
    assert run["request"]["seed"] == 3
    assert run["report"]["passes"] == "FrrFrrFrrF"


def test_float16_weights_run_too(clip_of: ClipOf) -> None:
    engine = VideoEngine(load_model("demo-svd", dtype="bfloat16", families=VIDEO_FAMILIES))
    made = engine.generate(clip_of(cache=DeepCache(interval=5)))
    assert as_array(made.frames).std() > 5


def test_an_interrupted_clip_leaves_the_pipeline_as_it_was(video_engine: VideoEngine, clip_of: ClipOf) -> None:
    pipe = video_engine.model.pipe
    before = (pipe.unet, pipe.scheduler)

    def stop(evaluation: int, _: int, __: str) -> None:
        if evaluation == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video_engine.generate(clip_of(), stop)
    assert (pipe.unet, pipe.scheduler) == before
    assert video_engine.generate(clip_of(steps=3, cache="lossless")).frames
