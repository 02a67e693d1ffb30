"""Named cache settings for each model family, and the figures behind them (docs/presets.md has the tables).

FLOP ceilings are for 30 steps at the family's usual size with guidance in one batch. On SDXL a reuse pass at branch 0
costs 1.5 % of a full one, so every setting stays at branch 0 or near it; on SD1.5 and SVD it costs 8 %, and the next
branch 23 %, so only branch 0 pays.
"""

from __future__ import annotations

from ..deepcache import DeepCache
from ..errors import OptionError

LOSSLESS = DeepCache(interval=1)

PRESETS: dict[str, dict[str, DeepCache]] = {
    "sdxl": {
        "lossless": LOSSLESS,
        "quality": DeepCache(interval=2, branch=0, forecast="linear"),  # ceiling 1.97
        "balanced": DeepCache(interval=3, branch=0, forecast="linear"),  # ceiling 2.92
        "fast": DeepCache(interval=5, branch=0, forecast="linear"),  # ceiling 4.73
    },
    "sd15": {
        "lossless": LOSSLESS,
        "quality": DeepCache(interval=2, branch=0, forecast="linear"),  # ceiling 1.85
        "balanced": DeepCache(interval=3, branch=0, forecast="linear"),  # ceiling 2.55
        "fast": DeepCache(interval=5, branch=0, forecast="linear"),  # ceiling 3.80
    },
}


def preset(name: str, family: str) -> DeepCache:
    """The cache options called `name` for a model family.

    Raises:
        OptionError: if there is no such preset, naming those that are.
    """
    presets = PRESETS[family]
    if name not in presets:
        raise OptionError(f"cache must be one of {', '.join(presets)}, got {name!r}")
    return presets[name]
