"""Turns the latents of a clip into frames, some at a time."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..compile import Compiler


class FrameDecoder:
    """The temporal decoder of a pipeline's VAE; compiled if there is a compiler."""

    def __init__(self, pipe: Any, compiler: Compiler | None = None) -> None:
        self._pipe = pipe
        self._decode = pipe.vae.decode if compiler is None else compiler.decoder(pipe.vae)

    def decode(self, latents: Tensor, *, chunk: int) -> list[Image.Image]:
        """Frames of latents (frames, channels, height / 8, width / 8), `chunk` at once.

        Frames of one chunk are decoded with a view on each other, those of two chunks are not.
        """
        vae = self._pipe.vae
        scaled = 1 / vae.config.scaling_factor * latents  # in the pipeline's order, to the last bit
        made = []
        with torch.no_grad():
            for part in scaled.split(chunk):
                decoded = self._decode(part, num_frames=len(part), return_dict=False)[0]
                made.append(decoded.float().cpu())
        video = torch.cat(made).transpose(0, 1)[None]
        frames: list[Image.Image] = self._pipe.video_processor.postprocess_video(video, output_type="pil")[0]
        return frames
