"""Pictures on disk: whole or not at all, and saying how they were made."""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from ..errors import OptionError, OutputError
from .caches import plain_name
from .image import GeneratedImage
from .request import plain_cache

PANEL = 256  # smallest side of a panel in a comparison, pixels
CAPTION = 22


def check_output(path: Path) -> None:
    """Refuse a place that cannot be written to, before any work is done.

    Raises:
        OptionError: if the name does not end in .png.
        OutputError: if the folder is missing or not writable, or `path` is a folder.
    """
    if path.suffix.lower() != ".png":
        raise OptionError(f"the output must end in .png, got {path}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    write_whole(path, None)


def write_whole(path: Path, data: bytes | None) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part; None only tries.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".skipstep-", suffix=".part")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}; choose another place with --out") from error
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if data is None:
                return
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}; choose another place with --out") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "no space left on the device"
    return (error.strerror or str(error)).lower()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def png_bytes(image: Image.Image, texts: dict[str, str]) -> bytes:
    """The picture as PNG with `texts` in it."""
    information = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        information.add_itxt(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()


def describe(made: GeneratedImage, extra: dict[str, Any] | None = None) -> dict[str, str]:
    """What goes into the PNG: `parameters` as AUTOMATIC1111's web UI writes them, and all of the run as JSON."""
    request, report = made.request, made.report
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    cache = plain_name(request.cache) or "custom"
    lines.append(
        f"Steps: {request.steps}, Sampler: {request.sampler}, CFG scale: {request.guidance_scale:g}, "
        f"Seed: {request.seed}, Size: {request.width}x{request.height}, Model: {made.model}, "
        f"skipstep: {cache}, skipstep passes: {report.full_passes} full + {report.reuse_passes} reuse"
    )
    run = {
        "request": request.as_dict(),
        "options": plain_cache(made.cache),
        "cache_source": made.cache_source,
        "model": made.model,
        "seconds": made.seconds,
        "report": report.as_dict(),
        **(extra or {}),
    }
    return {"parameters": "\n".join(lines), "skipstep": json.dumps(run, allow_nan=False)}


def side_by_side(reference: Image.Image, image: Image.Image, captions: tuple[str, str]) -> Image.Image:
    """Reference, picture and their difference, amplified so that the largest is white; small ones are enlarged."""
    one, other = (np.asarray(picture.convert("RGB"), np.float32) for picture in (reference, image))
    gap = np.abs(one - other).mean(axis=2)
    largest = float(gap.max())
    gain = 255 / largest if largest else 1.0
    difference = Image.fromarray((gap * gain).astype(np.uint8)).convert("RGB")
    note = f"difference x{gain:.{1 if gain < 10 else 0}f}" if largest else "no difference"
    scale = max(1, -(-PANEL // min(reference.size)))
    width, height = reference.width * scale, reference.height * scale
    sheet = Image.new("RGB", (3 * width, height + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    panels = ((reference, captions[0]), (image, captions[1]), (difference, note))
    for index, (panel, caption) in enumerate(panels):
        sheet.paste(panel.convert("RGB").resize((width, height), Image.Resampling.NEAREST), (index * width, CAPTION))
        draw.text((index * width + 4, 3), caption, fill="black", font=font)
    return sheet
