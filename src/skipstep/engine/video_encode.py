"""H.264 in MP4 and VP9 in WebM, through PyAV."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import MissingExtraError

if TYPE_CHECKING:
    import av

_BT709 = 1  # as primaries, transfer and matrix
_LIMITED = 1  # luma 16 to 235
_RED, _BLUE = 0.2126, 0.0722  # shares of luma in BT.709


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """A container, and how the codec in it is set: constant quality, at which no difference is seen."""

    container: str
    codec: str
    codec_options: dict[str, str]
    container_options: dict[str, str]


MP4 = Encoding(
    container="mp4",
    codec="libx264",
    # chromaloc: colours lie between their four pixels; mbtree: it reads memory that was never written, and the same
    # frames give another file each time (x264 165, seen with MALLOC_PERTURB_)
    codec_options={"crf": "17", "preset": "medium", "x264-params": "chromaloc=1:mbtree=0"},
    container_options={"movflags": "+faststart"},
)
WEBM = Encoding(
    container="webm",
    codec="libvpx-vp9",
    codec_options={"crf": "15", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"},
    container_options={"fflags": "+bitexact"},  # no random number in it
)


def require_pyav(encoding: Encoding) -> None:
    """Refuse where the clip could not be encoded.

    Raises:
        MissingExtraError: without PyAV, or with one that was built without the codec.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(f"{encoding.container} files need PyAV: pip install 'skipstep[video]'") from error
    if encoding.codec not in av.codecs_available:
        raise MissingExtraError(
            f"this PyAV was built without {encoding.codec}; PyPI's has it: pip install --force-reinstall 'av>=14'"
        )


def encode_video(
    path: Path, frames: Sequence[Image.Image], *, rate: Fraction, comment: str, encoding: Encoding
) -> None:
    """Write frames of one size to `path`, 8-bit 4:2:0 in BT.709 as every player expects.

    Odd sides get one more row or column, a copy of the last: 4:2:0 halves both sides of the colours.

    Raises:
        OSError: if it cannot be written or encoded.
    """
    import av

    try:
        with av.open(str(path), "w", format=encoding.container, container_options=encoding.container_options) as file:
            file.metadata["comment"] = comment
            stream = file.add_stream(encoding.codec, rate=rate, options=dict(encoding.codec_options))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = (side + side % 2 for side in frames[0].size)
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = 1 / rate
            context = stream.codec_context
            context.color_range, context.colorspace = _LIMITED, _BT709
            context.color_primaries = context.color_trc = _BT709
            for index, frame in enumerate(frames):
                file.mux(stream.encode(_encodable(frame, index, 1 / rate)))
            file.mux(stream.encode())
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OSError(errno.EIO, f"{encoding.codec} failed: {error.strerror or error}") from error


def read_comment(path: Path) -> str | None:
    """The comment of an MP4 or WebM file, if it has one.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    import av

    with path.open("rb") as data, av.open(data) as file:
        tags = {key.lower(): text for key, text in file.metadata.items()}
    return tags.get("comment")


def _encodable(picture: Image.Image, index: int, time_base: Fraction) -> av.VideoFrame:
    import av

    frame = av.VideoFrame.from_ndarray(yuv420(picture), format="yuv420p")
    frame.pts, frame.time_base = index, time_base
    frame.color_range, frame.colorspace = _LIMITED, _BT709
    return frame


def yuv420(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Luma, then both chromas at half the sides, as rows of luma's width: (height * 3 / 2, width).

    ITU-R BT.709-6 in limited range. Each colour is the mean of its four pixels.
    """
    rgb = np.asarray(picture.convert("RGB"), np.float32) / 255
    rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    shares = np.array([_RED, 1 - _RED - _BLUE, _BLUE], np.float32)
    fours = (rgb[0::2, 0::2] + rgb[0::2, 1::2] + rgb[1::2, 0::2] + rgb[1::2, 1::2]) / 4
    luma, small = rgb @ shares, fours @ shares
    planes = [
        16 + 219 * luma,
        128 + 224 * (fours[..., 2] - small) / (2 * (1 - _BLUE)),
        128 + 224 * (fours[..., 0] - small) / (2 * (1 - _RED)),
    ]
    flat = np.concatenate([np.rint(plane).astype(np.uint8).ravel() for plane in planes])
    return flat.reshape(-1, luma.shape[1])
