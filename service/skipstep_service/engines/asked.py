"""From the JSON of a job to skipstep's own requests, whose checks and messages are those of the command line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from skipstep.deepcache import DeepCache
from skipstep.engine.caches import Cache
from skipstep.engine.picture import decode_picture
from skipstep.engine.request import ImageRequest
from skipstep.engine.video_request import VideoRequest
from skipstep.errors import OptionError
from skipstep.plan import load_plan

from ..jobs.accepting import PICTURE

USUAL = "balanced"
_SEEDS = 2**32


def image_requests(asked: dict[str, Any], pictures: dict[str, bytes], *, plans: Path | None) -> list[ImageRequest]:
    """A request for each picture of a job, with seeds that follow each other.

    Raises:
        OptionError, PlanError, ScheduleError: if a value is out of range or contradicts another.
    """
    picture = decode_picture(pictures[PICTURE], name="image") if PICTURE in pictures else None
    cache = cache_of(asked["acceleration"], plans=plans)
    return [
        ImageRequest(
            prompt=asked["prompt"],
            negative_prompt=asked["negative_prompt"],
            width=asked["width"],
            height=asked["height"],
            steps=asked["steps"],
            guidance_scale=asked["guidance_scale"],
            seed=(asked["seed"] + index) % _SEEDS,
            sampler=asked["sampler"],
            cache=cache,
            picture=picture,
            strength=asked["strength"],
        )
        for index in range(asked["n"])
    ]


def video_request(asked: dict[str, Any], pictures: dict[str, bytes], *, plans: Path | None) -> VideoRequest:
    """The request of a clip.

    Raises:
        OptionError, PlanError, ScheduleError: as `image_requests`.
    """
    same = ("width", "height", "steps", "seed", "frames", "fps", "motion", "noise", "min_guidance", "max_guidance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is ours by now
        picture = decode_picture(pictures[PICTURE], name="image")
    return VideoRequest(
        picture=picture,
        cache=cache_of(asked["acceleration"], plans=plans),
        **{name: asked[name] for name in same},
    )


def cache_of(asked: dict[str, Any], *, plans: Path | None) -> Cache:
    """The cache that an acceleration object names.

    Raises:
        OptionError: if it names more than one, or a plan that is not there.
    """
    given = [name for name in ("preset", "plan", "cache") if asked[name] is not None]
    if len(given) > 1:
        raise OptionError(f"acceleration has {' and '.join(given)}, which contradict each other; give one of them")
    if asked["cache"] is not None:
        return DeepCache(**{name: value for name, value in asked["cache"].items() if name != "kind"})
    if asked["plan"] is None:
        return str(asked["preset"] or USUAL)
    known = plan_names(plans)
    if asked["plan"] not in known:
        listed = f"one of {', '.join(known)}" if known else "left out: this server has none"
        raise OptionError(f"plan must be {listed}, got {asked['plan']!r}")
    assert plans is not None
    return load_plan(plans / f"{asked['plan']}.json")


def plan_names(plans: Path | None) -> list[str]:
    """The plans that clients may name."""
    return [] if plans is None else sorted(path.stem for path in plans.glob("*.json"))
