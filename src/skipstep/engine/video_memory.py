"""Whether a clip fits into memory, said before the work is done, with what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..deepcache import DeepCache, DiffusersMixedSplit
from ..deepcache._view import bare_view
from ..deepcache.flops import InputShapes
from ..deepcache.unet_inputs import video_inputs
from ..errors import NoMemoryError
from .memory import free_bytes, peak_bytes
from .video_request import VideoRequest

GIB = 2**30
MUCH = 64  # tensors of the widest level that a UNet and its features cannot take together


@dataclass(frozen=True, kw_only=True)
class VideoMemory:
    """Bytes on the device, besides weights, at the least."""

    unet: int  # of a full pass
    features: int  # deep features between passes
    decoder: int  # of one chunk

    @property
    def peak(self) -> int:
        """The most at once."""
        return max(self.unet + self.features, self.decoder)

    def __str__(self) -> str:
        parts = f"UNet {self.unet / GIB:.2f}, features {self.features / GIB:.2f}, decoder {self.decoder / GIB:.2f}"
        return f"{self.peak / GIB:.2f} GiB besides weights ({parts})"


def video_memory(pipe: Any, request: VideoRequest, options: DeepCache) -> VideoMemory:
    """What a complete request takes; some seconds for a full-size UNet."""
    vae = pipe.vae
    frames, height, width = _latent_shape(request)
    chunk = min(request.decode_chunk or frames, frames)
    split = DiffusersMixedSplit(bare_view(pipe.unet), options.branches)
    shapes = unet_inputs(pipe.unet, request)
    kept: list[int] = []

    def run_unet() -> Any:
        args, kwargs = shapes.empty_beside(next(pipe.unet.parameters()))
        output, features = split.full(*args, **kwargs)
        kept.append(sum(tensor.nbytes for tensor in features.values()))
        return output, features

    def run_decoder() -> Any:
        some = torch.empty(chunk, vae.config.latent_channels, height, width, dtype=vae.dtype, device=vae.device)
        return vae.decode(some, num_frames=chunk, return_dict=False)

    unet = peak_bytes(run_unet)
    stored = options.new_forecast().history_size * sum(kept)
    if options.feature_dtype != "same":
        stored = stored * 2 // pipe.unet.dtype.itemsize
    if options.feature_device == "cpu" and pipe.unet.device.type != "cpu":
        stored //= options.new_forecast().history_size  # those of one evaluation, on their way
    return VideoMemory(unet=unet, features=stored, decoder=peak_bytes(run_decoder))


def check_memory(pipe: Any, request: VideoRequest, options: DeepCache) -> None:
    """Refuse a complete request that cannot fit.

    Raises:
        NoMemoryError: with the figures and the options that would fit.
    """
    frames, height, width = _latent_shape(request)
    unet = pipe.unet
    widest = 2 * frames * height * width * unet.config.block_out_channels[0] * unet.dtype.itemsize
    pixels = frames * height * width * 64 * pipe.vae.config.block_out_channels[0] * pipe.vae.dtype.itemsize
    free = free_bytes(unet.device)
    if MUCH * max(widest, pixels) < free:  # by far enough: spare the seconds
        return
    needed = video_memory(pipe, request, options)
    if needed.peak > free:
        raise out_of_memory(pipe, request, options, needed)


def out_of_memory(
    pipe: Any, request: VideoRequest, options: DeepCache, needed: VideoMemory | None = None
) -> NoMemoryError:
    """What to raise where a complete request does not fit, or did not."""
    needed = needed or video_memory(pipe, request, options)
    free = free_bytes(pipe.unet.device)
    fits = next((text for text, smaller in _smaller(request, options, needed) if smaller.peak < 0.9 * free), None)
    remedy = f"{fits} would fit" if fits else "no option would fit; use a smaller --width and --height"
    size = f"{request.frames} frames of {request.width} x {request.height}"
    return NoMemoryError(f"{size} take at least {needed}, and {free / GIB:.2f} GiB are free: {remedy}")


def _smaller(request: VideoRequest, options: DeepCache, needed: VideoMemory) -> Iterator[tuple[str, VideoMemory]]:
    """Ways to take less, gentlest first; all parts grow with the number of frames."""
    frames, chunk = request.frames or 1, request.decode_chunk or request.frames or 1
    few = next((count for count in (8, 4, 2, 1) if count < chunk), 1)
    decoder = needed.decoder * few // chunk
    if few < chunk:
        yield f"--decode-chunk {few}", replace(needed, decoder=decoder)
    least = replace(needed, decoder=decoder)
    if options.feature_device == "same":
        yield f"--feature-device cpu --decode-chunk {few}", replace(least, features=needed.features // 2)
    for count in (25, 21, 14, 8, 4, 2):
        if count < frames:
            share = count / frames
            part = VideoMemory(
                unet=round(needed.unet * share),
                features=round(needed.features * share),
                decoder=needed.decoder * min(few, count) // chunk,
            )
            yield f"--frames {count} --decode-chunk {min(few, count)}", part


def _latent_shape(request: VideoRequest) -> tuple[int, int, int]:
    assert request.frames is not None
    assert request.height is not None
    assert request.width is not None
    return request.frames, request.height // 8, request.width // 8


def unet_inputs(unet: Any, request: VideoRequest) -> InputShapes:
    """One evaluation of a complete request."""
    frames, height, width = _latent_shape(request)
    batch = 2 if (request.max_guidance or 0) > 1 else 1
    return video_inputs(unet, batch=batch, frames=frames, height=height, width=width, scale=1)
