"""Clips on disk: whole or not at all, and saying how they were made."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from ..errors import OptionError, OutputError
from ..whole import whole_file, write_whole
from .animations import read_animation_comment, write_gif, write_webp
from .frame_folder import check_folder, read_folder_texts, read_png_texts, write_folder
from .picture import DAMAGED
from .sheets import side_by_side_frames
from .video_encode import MP4, WEBM, encode_video, read_comment, require_pyav

__all__ = ["VIDEO_FORMATS", "check_video_output", "read_texts", "side_by_side_frames", "write_video"]

VIDEO_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        ".mp4": "H.264, plays everywhere",
        ".webm": "VP9, for web pages",
        ".webp": "animated picture, lossless",
        ".gif": "animated picture, 256 colours",
        "": "folder of PNG files, lossless",
    }
)
MAX_SIDE = 16383  # of a WebP, and about what H.264 encoders take
_MOST_FPS = {".gif": 50, ".webp": 60}  # browsers slow down what is faster
_ENCODINGS = {".mp4": MP4, ".webm": WEBM}


def check_video_output(path: Path | str, *, fps: float | None = None) -> None:
    """Refuse a place or rate that cannot be written, before any work is done.

    Raises:
        OptionError: if the name ends in something else than `VIDEO_FORMATS`, or `fps` cannot be kept in that format.
        OutputError: if the folder is missing or not writable, or `path` is a folder where a file is wanted, or one
            with files in it that are not frames of an earlier clip.
        MissingExtraError: if the format needs PyAV and it is not installed.
    """
    suffix = _format(path)
    if fps is not None:
        _check_fps(suffix, fps)
    if suffix in _ENCODINGS:
        require_pyav(_ENCODINGS[suffix])
    if not suffix:
        check_folder(Path(path))
    elif Path(path).is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file, or of a folder without {suffix}")
    else:
        write_whole(Path(path), None)


def write_video(path: Path | str, frames: Sequence[Image.Image], *, fps: float, texts: dict[str, str]) -> None:
    """Write frames of one size in the format that the name asks for; what was there is replaced once all is written.

    No suffix, or a slash at the end, is a folder of PNG files. `texts` go into the file: PNGs have each as a text of
    its own, the others all of them as JSON in a comment (EXIF's description for WebP).

    Raises:
        OptionError, OutputError, MissingExtraError: as `check_video_output`; nothing is left behind.
    """
    check_video_output(path, fps=fps)
    suffix = _format(path)
    if not frames or len({frame.size for frame in frames}) > 1 or max(frames[0].size) > MAX_SIDE:
        sizes = sorted({frame.size for frame in frames})
        raise OptionError(f"a clip needs frames of one size, {MAX_SIDE} pixels a side at most, got sizes {sizes}")
    if not suffix:
        write_folder(Path(path), frames, texts)
        return
    comment = json.dumps(texts)  # ASCII, as GIF and EXIF want it
    with whole_file(Path(path)) as unfinished:
        if suffix in _ENCODINGS:
            rate = Fraction(fps).limit_denominator(1001)  # as 30000/1001
            encode_video(unfinished, frames, rate=rate, comment=comment, encoding=_ENCODINGS[suffix])
        else:
            write = write_gif if suffix == ".gif" else write_webp
            write(unfinished, frames, fps=fps, comment=comment)


def read_texts(path: Path | str) -> dict[str, str]:
    """The `texts` that `write_video` put into a file or a folder; empty if it has none.

    Raises:
        OptionError: if it cannot be read.
        MissingExtraError: if the format needs PyAV and it is not installed.
    """
    file, suffix = Path(path), Path(path).suffix.lower()
    if suffix in _ENCODINGS:
        require_pyav(_ENCODINGS[suffix])
    try:
        if file.is_dir():
            return read_folder_texts(file)
        if suffix == ".png":
            return read_png_texts(file)
        comment = read_comment(file) if suffix in _ENCODINGS else read_animation_comment(file)
    except DAMAGED as error:
        raise OptionError(f"cannot read {path}; give a clip that skipstep wrote") from error
    try:
        texts = json.loads(comment or "{}")
    except ValueError:
        return {}  # a comment of someone else's
    return {key: text for key, text in texts.items() if isinstance(text, str)} if isinstance(texts, dict) else {}


def _format(path: Path | str) -> str:
    """The suffix, in small letters; nothing for a folder."""
    text, suffix = os.fspath(path), Path(path).suffix.lower()
    if text.endswith(("/", os.sep)) or (Path(path).is_dir() and suffix not in VIDEO_FORMATS):
        return ""
    if suffix not in VIDEO_FORMATS:
        raise OptionError(f"a clip must end in .mp4, .webm, .webp or .gif, or be a folder for PNG files, got {path}")
    return suffix


def _check_fps(suffix: str, fps: float) -> None:
    most = _MOST_FPS.get(suffix, 120)
    if not math.isfinite(fps) or not 1 <= fps <= most:
        raise OptionError(
            f"fps must be 1 to {most} in {suffix or 'PNG files'}, got {fps:g}; use another format or rate"
        )
