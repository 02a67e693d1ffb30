"""The demo models' latent spaces, with an exact preview.

Their latents are defined, not learned: an orthonormal luma/chroma transform of each 8x8 block's mean colour, and its
contrast, each normalised. The figures are those of `tools/demo_model/latents.py`.
"""

from __future__ import annotations

from comfy.latent_formats import LatentFormat

_COLOUR_TRANSFORM = (  # of luma and the two chromas; columns are red, green and blue
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)
_MEAN = (0.587, 0.303, 0.025)
_STD = (0.538, 0.520, 0.313)
_FACTORS = [
    *([std * part for part in row] for std, row in zip(_STD, _COLOUR_TRANSFORM, strict=True)),
    [0.0, 0.0, 0.0],  # contrast has no colour
]
_BIAS = [sum(mean * row[c] for mean, row in zip(_MEAN, _COLOUR_TRANSFORM, strict=True)) for c in range(3)]


class DemoLatents(LatentFormat):
    """Those of the demo SDXL and SD1.5; SDXL's scaling factor is built into their VAE."""

    scale_factor = 0.13025
    latent_rgb_factors = _FACTORS
    latent_rgb_factors_bias = _BIAS


class DemoVideoLatents(DemoLatents):
    """Those of the demo SVD; SVD's scaling factor is built into its VAE."""

    scale_factor = 0.18215
