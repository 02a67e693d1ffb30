"""What `skipstep video` does with a clip: writes it, compares it, says what it cost."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ._console import MIB, console, decibels, print_loop, progress, say

if TYPE_CHECKING:
    from PIL import Image

    from ..engine.video import GeneratedVideo, VideoEngine
    from ..engine.video_compare import VideoComparison
    from ..engine.video_request import VideoRequest


def draw_first_frame(
    prompt: str, model: str, request: VideoRequest, *, device: str, dtype: str, out: Path
) -> Image.Image:
    """The first frame, drawn in the clip's size, cached as a preset does, and kept beside the clip."""
    from ..engine import ImageEngine, ImageRequest, load_model, media
    from ..engine.texts import describe

    target = beside(out, "start").with_suffix(".png")
    media.check_output(target)
    engine = ImageEngine(load_model(model, device=device, dtype=dtype))
    with progress() as bar:
        drawn = engine.generate(
            ImageRequest(prompt=prompt, width=request.width, height=request.height, seed=request.seed),
            bar.follow(prompt),
        )
    media.write_whole(target, media.png_bytes(drawn.image, describe(drawn)))
    say("picture", f"{target} ({drawn.report.full_passes} full + {drawn.report.reuse_passes} reuse)")
    return drawn.image


def write_clip(made: GeneratedVideo, out: Path, extra: dict[str, Any] | None = None) -> None:
    """Write the clip and say what it cost."""
    from ..engine.texts import describe_video
    from ..engine.video_files import write_video

    request = made.request
    write_video(out, made.frames, fps=request.fps, texts=describe_video(made, extra))
    say("clip", f"{out} ({request.frames} frames, {request.width} x {request.height}, seed {request.seed})")
    print_loop(made)
    say("time", f"{made.seconds:.2f} s, {made.decode_s:.2f} of them decoding")


def compare_clips(engine: VideoEngine, request: VideoRequest, out: Path, rounds: int) -> None:
    """Make the clip with and without the cache; write it, both side by side, and the plot over frames."""
    from ..engine.media import write_whole
    from ..engine.video_compare import compare_videos
    from ..engine.video_files import side_by_side_frames, write_video
    from ..engine.video_plot import plot_frames

    with progress() as bar:
        result = compare_videos(
            engine, request, rounds=rounds, on_run=lambda name, turn: bar.follow(f"{name} {turn + 1}")
        )
    write_clip(result.cached, out, {"comparison": result.as_dict()})
    note = f"cached x{result.speedup:.2f}, {decibels(median(result.psnr))}"
    pairs = side_by_side_frames(result.baseline.frames, result.cached.frames, ("uncached", note))
    both = beside(out, "compare")
    write_video(both, pairs, fps=request.fps, texts={})
    plot = both.with_suffix("")
    for suffix, data in zip((".png", ".svg"), plot_frames(result, f"{out.name}: {note}"), strict=True):
        write_whole(plot.with_name(plot.name + suffix), data)
    _print(result, both, plot)


def _print(result: VideoComparison, both: Path, plot: Path) -> None:
    rounds = ", ".join(f"{ratio:.2f}" for ratio in result.loop_ratios)
    say("measured", f"sampling loop x{result.speedup:.2f} (rounds {rounds}), whole call x{result.total_speedup:.2f}")
    worst = min(range(len(result.psnr)), key=lambda frame: result.psnr[frame])
    say(
        "likeness",
        f"PSNR {decibels(median(result.psnr))} (median; frame {worst + 1}: {decibels(result.psnr[worst])}), "
        f"SSIM {min(result.ssim):.4f} at least, latents {decibels(result.latent_psnr)} (to uncached)",
    )
    if result.flicker_ratio is not None:
        say("flicker", f"{max(result.flicker):.2f} levels at most, change between frames x{result.flicker_ratio:.3f}")
    say("compare", f"{both}, {plot.name}.png, {plot.name}.svg")


def print_costs(engine: VideoEngine, request: VideoRequest) -> None:
    """What each branch costs a complete request, what its cache can gain, and the memory that it takes."""
    from rich.table import Table

    from ..deepcache.branch_costs import branch_costs
    from ..engine.video_memory import unet_inputs, video_memory

    unet, options = engine.model.pipe.unet, engine.resolve(request).options
    table = Table(box=None, pad_edge=False)
    for heading in ("branch", "reuse pass", "features, MiB", "at most, every 2nd", "every 3rd", "every 5th"):
        table.add_column(heading, justify="right")
    for cost in branch_costs(unet, unet_inputs(unet, request)):
        gains = (f"{_gain(request.steps, interval, cost.reuse_share):.2f}" for interval in (2, 3, 5))
        table.add_row(
            f"{cost.branch}{' *' if cost.branch in options.branches else ''}",
            f"{100 * cost.reuse_share:.1f} %",
            f"{cost.feature_bytes / MIB:.1f}",
            *gains,
        )
    console.print(table)
    say("*", f"as asked; its forecast keeps {options.new_forecast().history_size} such tensors")
    say("memory", str(video_memory(engine.model.pipe, request, options)))


def _gain(steps: int, interval: int, share: float) -> float:
    """The most that a full pass every `interval` evaluations can gain, by FLOPs."""
    full = -(-steps // interval)
    return steps / (full + (steps - full) * share)


def beside(out: Path, word: str) -> Path:
    """`clip-word.mp4` for `clip.mp4`."""
    return out.with_name(f"{out.stem}-{word}{out.suffix}")
