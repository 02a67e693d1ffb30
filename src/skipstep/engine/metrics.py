"""How alike two pictures, two latents or two videos are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from ..errors import OptionError
from ..plan.likeness import latent_psnr

__all__ = [
    "Frames",
    "flicker_errors",
    "flicker_ratio",
    "image_psnr",
    "image_ssim",
    "latent_psnr",
    "latent_relative_error",
    "video_psnr",
]

Frames = npt.NDArray[np.uint8]  # (frames, height, width, 3)


def image_psnr(reference: Image.Image, image: Image.Image) -> float:
    """PSNR in dB of 8-bit RGB pictures, peak 255; infinite for equal ones."""
    return _psnr(_pixels(reference), _pixels(image))


def image_ssim(reference: Image.Image, image: Image.Image) -> float:
    """Structural similarity of 8-bit RGB pictures (Wang et al. 2004), 1 for equal ones; scikit-image's defaults."""
    from skimage.metrics import structural_similarity  # with SciPy's statistics, most of a second of every start

    return float(structural_similarity(_pixels(reference), _pixels(image), channel_axis=2, data_range=255))


def latent_relative_error(reference: Tensor, latents: Tensor) -> float:
    """||reference - latents|| / ||reference|| over all values, without a unit; 0 for equal ones.

    Infinite where the reference is all zeros and the latents are not.
    """
    error = (reference.double() - latents.double()).norm().item()
    size = reference.double().norm().item()
    if error == 0:
        return 0.0
    return error / size if size else math.inf


def video_psnr(reference: Frames, video: Frames) -> list[float]:
    """PSNR in dB of every frame, peak 255; infinite for equal frames.

    Both are (frames, height, width, 3) of 8 bits.

    Raises:
        OptionError: if they are not, or differ in shape.
    """
    _check_videos(reference, video, least=1)
    return [_psnr(one, other) for one, other in zip(reference, video, strict=True)]


def flicker_ratio(reference: Frames, video: Frames) -> float:
    """How much the video changes from frame to frame, over how much the reference does; 1 for the same flicker.

    The change is the mean over frames, pixels and channels of |frame[t + 1] - frame[t]|. It holds motion and flicker
    alike: since the reference has the same motion, what is above 1 is flicker that the video adds, and what is below
    1 is motion that it lost. Where the reference stands still it is 1 if the video does so too, and infinite if not.
    Both are (frames, height, width, 3) of 8 bits.

    Raises:
        OptionError: if they are not, differ in shape, or have fewer than two frames.
    """
    _check_videos(reference, video, least=2)
    own, other = _temporal_change(video), _temporal_change(reference)
    if other == 0:
        return 1.0 if own == 0 else math.inf
    return own / other


def flicker_errors(reference: Frames, video: Frames) -> list[float]:
    """Error of the change from each frame to the next, in levels of 255; 0 where both change alike.

    The root mean square over pixels and channels of (video[t + 1] - video[t]) - (reference[t + 1] - reference[t]). An
    error that stays the same from frame to frame is not flicker, and does not count. Shapes as for `flicker_ratio`.

    Raises:
        OptionError: as `flicker_ratio`.
    """
    _check_videos(reference, video, least=2)
    error = video.astype(np.float32) - reference.astype(np.float32)
    return [float(np.sqrt(np.square(step).mean())) for step in np.diff(error, axis=0)]


def _temporal_change(video: Frames) -> float:
    wide = video.astype(np.int16)  # differences of unsigned bytes would wrap around
    return float(np.abs(np.diff(wide, axis=0)).mean())


def _check_videos(reference: Frames, video: Frames, *, least: int) -> None:
    for name, frames in (("reference", reference), ("video", video)):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise OptionError(
                f"the {name} must be (frames, height, width, 3) of uint8, got {frames.shape} of {frames.dtype}"
            )
        if len(frames) < least:
            raise OptionError(f"the {name} must have {least} frames or more, got {len(frames)}")
    if reference.shape != video.shape:
        raise OptionError(f"the video must have the reference's shape {reference.shape}, got {video.shape}")


def _psnr(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    if np.array_equal(one, other):
        return math.inf
    from skimage.metrics import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(one, other, data_range=255))


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))
