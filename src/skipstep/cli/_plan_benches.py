"""What a plan is searched and verified on: prompts, or pictures for clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import OptionError

if TYPE_CHECKING:
    from ..engine.models import LoadedModel
    from ..engine.prompt_bench import PromptBench
    from ..engine.video_bench import ClipBench

HELD_OUT_SEED = 1_000_000
SMALLEST = 6  # prompts: two thirds for the search, the others held out
DEMO_CLIPS = 12
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The run that a plan is for; None is the model's own.

    Raises:
        OptionError: if a value is out of range.
    """

    width: int | None
    height: int | None
    frames: int | None
    steps: int | None
    guidance: float | None
    sampler: str
    seed: int

    def __post_init__(self) -> None:
        from ..engine import ImageRequest
        from ..engine.request import check_range
        from ..engine.video_request import FRAMES

        sizes: dict[str, Any] = {"width": self.width, "height": self.height, "guidance_scale": self.guidance}
        if self.steps is not None:
            sizes["steps"] = self.steps
        ImageRequest(prompt="", cache="lossless", seed=0, sampler=self.sampler, **sizes)
        if self.frames is not None:
            check_range("frames", self.frames, FRAMES)


def prompt_benches(
    model: LoadedModel, wanted: Wanted, prompts: Path | None, limit: int | None, batch: int
) -> tuple[PromptBench, PromptBench]:
    """Prompts to search on, and those held out."""
    from ..engine.prompt_bench import PromptBench, RunSettings

    searched, held = split_prompts(_texts(model, prompts, limit))
    settings = RunSettings(
        sampler=wanted.sampler,
        steps=wanted.steps or 30,
        guidance_scale=model.guidance_scale if wanted.guidance is None else wanted.guidance,
        width=wanted.width or model.size[0],
        height=wanted.height or model.size[1],
    )
    return (
        PromptBench(model, settings, searched, first_seed=wanted.seed, batch=batch),
        PromptBench(model, settings, held, first_seed=HELD_OUT_SEED + wanted.seed, batch=batch),
    )


def clip_benches(
    model: LoadedModel, wanted: Wanted, images: Path | None, limit: int | None
) -> tuple[ClipBench, ClipBench]:
    """Pictures to search on, and those held out.

    Raises:
        OptionError: if there are too few, or the sampler is none for clips.
    """
    from ..engine.video_bench import ClipBench, ClipSettings
    from ..engine.video_request import SAMPLER
    from ..engine.video_starts import demo_starts, read_starts

    if wanted.sampler != SAMPLER:
        raise OptionError(f"clips are sampled with {SAMPLER}, got {wanted.sampler}; leave it out")
    if images is None and not model.is_demo:
        raise OptionError(f"--images is needed for {model.name}: a folder of pictures to start from")
    starts = demo_starts(min(limit or DEMO_CLIPS, 64)) if images is None else read_starts(images, limit)
    searched, held = split_prompts(starts, "pictures")
    settings = ClipSettings(
        steps=wanted.steps or 25,
        guidance_scale=model.guidance_scale if wanted.guidance is None else wanted.guidance,
        width=wanted.width or model.size[0],
        height=wanted.height or model.size[1],
        frames=wanted.frames or int(model.pipe.unet.config.num_frames),
    )
    return (
        ClipBench(model, settings, searched, first_seed=wanted.seed),
        ClipBench(model, settings, held, first_seed=HELD_OUT_SEED + wanted.seed),
    )


def split_prompts(texts: Sequence[T], kind: str = "prompts") -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Two thirds for the search and the others to be held out, in turns.

    Raises:
        OptionError: if there are fewer than 6.
    """
    if len(texts) < SMALLEST:
        raise OptionError(
            f"a plan needs {SMALLEST} {kind} or more, got {len(texts)}: two thirds are for the search, and the others "
            f"are held out, since a search on few {kind} fits those"
        )
    return tuple(text for index, text in enumerate(texts) if index % 3 != 2), tuple(texts[2::3])


def _texts(model: LoadedModel, prompts: Path | None, limit: int | None) -> tuple[str, ...]:
    from ..engine.prompts import demo_prompts, read_prompts

    if prompts is None and not model.is_demo:
        raise OptionError(f"--prompts is needed for {model.name}: a text file with one prompt a line")
    texts = demo_prompts() if prompts is None else read_prompts(prompts)
    return texts[:limit]
