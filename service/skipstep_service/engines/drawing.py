"""What a row does: it draws with the split maker of its batch, and tells what came of it."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from skipstep.deepcache import SplitMaker
from skipstep.engine.bootstrap import finite
from skipstep.engine.ignored import ignored_input
from skipstep.engine.image import GeneratedImage, ImageEngine
from skipstep.engine.media import png_bytes
from skipstep.engine.metrics import image_psnr, image_ssim, latent_psnr, video_psnr
from skipstep.engine.request import ImageRequest, plain_cache
from skipstep.engine.texts import describe, describe_video
from skipstep.engine.video import GeneratedVideo, VideoEngine
from skipstep.engine.video_compare import as_array
from skipstep.engine.video_files import write_video
from skipstep.engine.video_request import VideoRequest
from skipstep.plan.presets import LOSSLESS

from .models import ServedModel
from .protocol import Listener, Made, Output

Draw = Callable[[SplitMaker], Made]
_MEDIA = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg", "gif": "image/gif"}
_CLIPS = {"mp4": "video/mp4", "webm": "video/webm", "webp": "image/webp", "gif": "image/gif"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """Files of pictures: their number and suffix, and how the prompt was expanded."""

    index: int
    suffix: str
    expansion: dict[str, Any] | None

    def output(self, made: GeneratedImage, name: str) -> Output:
        """The file of one of them."""
        extra = None if self.expansion is None else {"expansion": self.expansion}
        return Output(
            name=f"{self.index}{name}.{self.suffix}",
            media_type=_MEDIA[self.suffix],
            encode=lambda: encode(made, self.suffix, extra),
        )


def drawing(model: ServedModel, request: ImageRequest, listener: Listener, *, form: Form, compare: bool) -> Draw:
    """One picture; with `compare` the uncached one before it."""

    def draw(split: SplitMaker) -> Made:
        engine = ImageEngine(model.own(), model.calibrations, split)

        def on_step(step: int, latents: Any) -> None:
            if listener.wants_previews and not compare:  # they take time, which is compared
                listener.on_preview(step, model.previews.jpeg(latents))

        plain = engine.generate(replace(request, cache=LOSSLESS)) if compare else None
        made = engine.generate(request, listener.on_pass, on_step)
        ignored = [str(warning) for warning in ignored_input(engine.model, made.request)]
        report = _report(made, {"seed": request.seed, "warnings": ignored})
        outputs = [form.output(made, "")]
        if plain is not None:
            report["comparison"] = likeness(plain, made)
            outputs.append(form.output(plain, "-baseline"))
        return Made(outputs=tuple(outputs), report=report)

    return draw


def filming(model: ServedModel, request: VideoRequest, listener: Listener, *, form: str, compare: bool) -> Draw:
    """One clip; with `compare` the uncached one before it."""

    def draw(split: SplitMaker) -> Made:
        engine = VideoEngine(model.own(), model.calibrations)
        engine.compiler = split
        plain = engine.generate(replace(request, cache=LOSSLESS)) if compare else None
        made = engine.generate(request, listener.on_pass)
        report = _report(made, {"seed": request.seed, "decode_ms": round(made.decode_s * 1000, 3)})
        outputs = [Output(name=f"0.{form}", media_type=_CLIPS[form], encode=lambda: encode_clip(made, form))]
        if plain is not None:
            report["comparison"] = clip_likeness(plain, made)
            name = f"0-baseline.{form}"
            outputs.append(Output(name=name, media_type=_CLIPS[form], encode=lambda: encode_clip(plain, form)))
        return Made(outputs=tuple(outputs), report=report)

    return draw


def _report(made: GeneratedImage | GeneratedVideo, more: dict[str, Any]) -> dict[str, Any]:
    """What really ran."""
    run = made.report.as_dict()
    return {
        **more,
        "width": made.request.width,
        "height": made.request.height,
        "model": made.model,
        "cache": plain_cache(made.cache),
        "cache_source": made.cache_source,
        "passes": made.report.passes,
        "full_passes": made.report.full_passes,
        "reuse_passes": made.report.reuse_passes,
        "flop_ceiling": finite(made.report.flop_ceiling),
        "loop_ms": round(made.report.loop_s * 1000, 3),
        "total_ms": round(made.seconds * 1000, 3),
        "feature_bytes": run["cache_bytes"],
    }


def likeness(plain: GeneratedImage, made: GeneratedImage) -> dict[str, Any]:
    """How much a picture differs from the uncached one, and how much sooner it was there."""
    return {
        "psnr_db": finite(image_psnr(plain.image, made.image)),
        "ssim": image_ssim(plain.image, made.image),
        "latent_psnr_db": finite(latent_psnr(plain.latents, made.latents)),
        **_times(plain, made),
    }


def clip_likeness(plain: GeneratedVideo, made: GeneratedVideo) -> dict[str, Any]:
    """The same of a clip: the mean over its frames."""
    frames = [finite(value) for value in video_psnr(as_array(plain.frames), as_array(made.frames))]
    known = [value for value in frames if value is not None]
    ssim = [image_ssim(one, other) for one, other in zip(plain.frames, made.frames, strict=True)]
    return {
        "psnr_db": sum(known) / len(known) if len(known) == len(frames) else None,
        "ssim": sum(ssim) / len(ssim),
        "latent_psnr_db": finite(latent_psnr(plain.latents, made.latents)),
        **_times(plain, made),
    }


def _times(plain: GeneratedImage | GeneratedVideo, made: GeneratedImage | GeneratedVideo) -> dict[str, Any]:
    return {
        "baseline_loop_ms": round(plain.report.loop_s * 1000, 3),
        "loop_speedup": plain.report.loop_s / made.report.loop_s,
        "total_speedup": plain.seconds / made.seconds,
    }


def encode(made: GeneratedImage, form: str, extra: dict[str, Any] | None = None) -> bytes:
    """The picture as a file that says how it was made."""
    texts = describe(made, extra)
    if form == "png":
        return png_bytes(made.image, texts)
    exif = Image.Exif()
    exif[0x010E] = json.dumps(texts)  # ImageDescription
    buffer = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if form == "webp" else {"quality": 95, "subsampling": 0}
    made.image.save(buffer, form, exif=exif, **options)
    return buffer.getvalue()


def encode_clip(made: GeneratedVideo, form: str) -> bytes:
    """The clip as a file that says how it was made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{form}"
        write_video(path, made.frames, fps=made.request.fps, texts=describe_video(made))
        return path.read_bytes()
