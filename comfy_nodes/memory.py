"""What stored features take, told before anything is sampled."""

from __future__ import annotations

from typing import Any

from skipstep.deepcache.storage import SAME

from .sampling import unet_of

_PIXELS = 8  # a latent
_HALF_BYTES = 2
_HISTORY = 2  # tensors of the straight-line forecast
_MIB = 2**20


def feature_memory(model: Any, *, width: int, height: int, frames: int, dtype: str, device: str) -> str:
    """The features that presets keep at branch 0 for a clip (or `frames` pictures), with guidance, in words.

    At branch 0 the features are what enters the last output block beside the skip of the first convolution.
    """
    unet = unet_of(model)
    channels = _entering(unet.output_blocks[-1][0]) - int(unet.model_channels)
    own = model.model_dtype()
    size = _HALF_BYTES if dtype != SAME else own.itemsize
    one = channels * (width // _PIXELS) * (height // _PIXELS) * frames * size / _MIB
    both = 2 * one  # sides of the guidance
    kept = _HISTORY * both
    place = "host memory" if device != SAME else "GPU memory"
    name = str(own).removeprefix("torch.") if dtype == SAME else dtype
    return (
        f"{frames} frames of {width} x {height}: one set of features is {both:.0f} MiB in {name} (with guidance), "
        f"and the forecast keeps {_HISTORY}: {kept:.0f} MiB of {place}"
    )


def _entering(resnet: Any) -> int:
    """Channels that a residual block takes."""
    return int(resnet.channels)
