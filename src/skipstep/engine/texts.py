"""How a picture or a clip was made, in words that go into its file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .caches import plain_name
from .request import plain_cache

if TYPE_CHECKING:
    from .image import GeneratedImage
    from .video import GeneratedVideo


def describe(made: GeneratedImage, extra: dict[str, Any] | None = None) -> dict[str, str]:
    """What goes into the PNG: `parameters` as AUTOMATIC1111's web UI writes them, and all of the run as JSON."""
    request = made.request
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(
        f"Steps: {request.steps}, Sampler: {request.sampler}, CFG scale: {request.guidance_scale:g}, "
        f"Seed: {request.seed}, Size: {request.width}x{request.height}, Model: {made.model}, {_cache(made)}"
    )
    return {"parameters": "\n".join(lines), "skipstep": _run(made, extra)}


def describe_video(made: GeneratedVideo, extra: dict[str, Any] | None = None) -> dict[str, str]:
    """What goes into the clip's file: a line for people, and all of the run as JSON."""
    request = made.request
    line = (
        f"Steps: {request.steps}, Guidance: {request.min_guidance:g} to {request.max_guidance:g}, "
        f"Seed: {request.seed}, Size: {request.width}x{request.height}, Frames: {request.frames}, FPS: {request.fps}, "
        f"Motion bucket: {request.motion}, Noise: {request.noise:g}, Model: {made.model}, {_cache(made)}"
    )
    return {"parameters": line, "skipstep": _run(made, {"decode_s": made.decode_s, **(extra or {})})}


def _cache(made: GeneratedImage | GeneratedVideo) -> str:
    name = plain_name(made.request.cache) or "custom"
    return f"skipstep: {name}, skipstep passes: {made.report.full_passes} full + {made.report.reuse_passes} reuse"


def _run(made: GeneratedImage | GeneratedVideo, extra: dict[str, Any] | None) -> str:
    run = {
        "request": made.request.as_dict(),
        "options": plain_cache(made.cache),
        "cache_source": made.cache_source,
        "model": made.model,
        "seconds": made.seconds,
        "report": made.report.as_dict(),
        **(extra or {}),
    }
    return json.dumps(run, allow_nan=False)
