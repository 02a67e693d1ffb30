"""General settings by name for each model family, for runs that no plan was measured for (docs/presets.md).

Of pictures the last evaluation is always a full pass: it has no later one to mend it (5 dB on the demo model). Of
videos the full passes are where the sampler's noise levels decide the clip, in the second half of the run (12 dB on the
demo model, docs/video.md).

On SDXL a reuse pass at branch 0 costs 1.5 % of a full one, on SD1.5 and SVD 8 %, and the next branch costs 4 % and
23 %. With the linear forecast a deeper cut gains too little for that.
"""

from __future__ import annotations

from ..deepcache import DeepCache
from ..errors import OptionError

LOSSLESS = DeepCache(interval=1)
STRETCHABLE = ("spread",)  # spacings of general settings that a plan for other steps beats; late spacing beats it


def _presets(spacing: str) -> dict[str, DeepCache]:
    return {
        "lossless": LOSSLESS,
        "quality": DeepCache(interval=2, branch=0, forecast="linear", spacing=spacing),
        "balanced": DeepCache(interval=3, branch=0, forecast="linear", spacing=spacing),
        "fast": DeepCache(interval=5, branch=0, forecast="linear", spacing=spacing),
    }


# FLOP ceilings of quality, balanced and fast
PRESETS: dict[str, dict[str, DeepCache]] = {
    "sdxl": _presets("spread"),  # 1.97, 2.92, 4.73
    "sd15": _presets("spread"),  # 1.85, 2.55, 3.80
    "svd": _presets("late"),  # 1.78, 2.41, 3.74
}


def preset(name: str, family: str) -> DeepCache:
    """The cache options called `name` for a model family.

    Raises:
        OptionError: if there is no such preset or family, naming those that are.
    """
    if family not in PRESETS:
        raise OptionError(f"model family must be one of {', '.join(PRESETS)}, got {family!r}")
    presets = PRESETS[family]
    if name not in presets:
        raise OptionError(f"cache must be one of {', '.join(presets)}, got {name!r}")
    return presets[name]
