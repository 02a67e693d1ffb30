"""What the commands show: a bar while they work, tables when they are done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(highlight=False, markup=False, soft_wrap=True)
MIB = 2**20


class PassBars:
    """Progress bars, one a run, with each evaluation marked F (full) or r (reuse)."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def follow(self, name: str) -> Callable[[int, int, str], None]:
        """A new bar; returns what to call after every evaluation."""
        task = self._bars.add_task(name[:32], total=None, passes="")
        kinds: list[str] = []

        def advance(evaluation: int, total: int, kind: str) -> None:
            kinds.append(f"[bold green]{kind}[/]" if kind == "F" else f"[cyan]{kind}[/]")
            self._bars.update(task, total=total, completed=evaluation + 1, passes="".join(kinds[-60:]))

        return advance


@contextmanager
def progress() -> Iterator[PassBars]:
    """Bars on a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TextColumn("{task.fields[passes]}"),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        yield PassBars(bars)


def print_run(made: Any, out: Path) -> None:
    """What a picture cost."""
    request = made.request
    say("picture", f"{out} ({request.width} x {request.height}, seed {request.seed})")
    print_loop(made)
    say("time", f"{made.seconds:.2f} s with text encoders and VAE")


def print_loop(made: Any) -> None:
    """What the sampling loop of a picture or clip was."""
    report, cache = made.report, made.cache
    reuse = f"interval {cache.interval}, branch {cache.branch}, {cache.forecast} forecast"
    if cache.passes is not None:
        reuse = made.cache_source
    elif made.cache_source != "options":
        reuse = f"{made.cache_source}: {reuse}"
    if not report.reuse_passes:
        calibrated = cache.forecast == "calibrated"
        reuse = "every pass in full" + (": this run calibrated, and the next ones reuse" if calibrated else "")
    say("cache", reuse)
    say("passes", f"{report.full_passes} full + {report.reuse_passes} reuse: {report.passes}")
    times = f"{1000 * median(report.full_s):.1f} ms full"
    if report.reuse_s:
        times += f", {1000 * median(report.reuse_s):.1f} ms reuse (medians)"
    say("UNet", times)
    ceiling = "not counted" if report.flop_ceiling is None else f"{report.flop_ceiling:.2f}"
    say(
        "speed-up",
        f"{report.measured_speedup:.2f} of the sampling loop, estimated from its own full passes "
        f"(UNet alone {report.expected_speedup:.2f}, FLOP ceiling {ceiling})",
    )
    beside = f", {report.host_bytes / MIB:.2f} MiB in host memory" if report.host_bytes else ""
    say("features", f"{report.cache_bytes / MIB:.2f} MiB stored at most{beside}")


def print_comparison(result: Any, sheet: Path) -> None:
    """What the cache gained and what it changed."""
    rounds = ", ".join(f"{ratio:.2f}" for ratio in result.loop_ratios)
    say("measured", f"sampling loop x{result.speedup:.2f} (rounds {rounds}), whole call x{result.total_speedup:.2f}")
    say(
        "likeness",
        f"PSNR {decibels(result.psnr)}, SSIM {result.ssim:.4f}, latents {decibels(result.latent_psnr)} (to uncached)",
    )
    say("compare", str(sheet))


def decibels(value: float) -> str:
    """A PSNR in words: that of equal pictures is infinite."""
    return f"{value:.1f} dB" if math.isfinite(value) else "identical"


def quiet_libraries() -> None:
    """Keep diffusers' and transformers' notices and loading bars off the screen."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    quiet_transformers()


def quiet_transformers() -> None:
    """Keep transformers' notices and loading bars off the screen."""
    from transformers.utils import logging as notices

    getLogger("bitsandbytes").setLevel(ERROR)  # which PEFT imports, and which looks for faster kernels
    logging: Any = notices
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def say(name: str, text: str) -> None:
    """A line of a report."""
    console.print(f"{name:<10} {text}")
