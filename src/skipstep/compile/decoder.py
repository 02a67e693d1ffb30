"""The decoder of a video VAE as compiled graphs: it costs as much as a UNet pass."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from .backend import Backend, CompileOptions
from .counters import CompileCounters
from .graphs import Graphs, OnCompile, Pass
from .signature import ambient, described, digest, machine
from .watch import ModelWatch, traced_state


class CompiledDecoder:
    """The temporal decoder of an `AutoencoderKLTemporalDecoder`, a graph for each number of frames and size.

    It is called as the VAE's own `decode`. What cannot be compiled runs eagerly, and says so once; a decoder that was
    changed is compiled anew.
    """

    def __init__(
        self,
        vae: Any,
        *,
        backend: Backend,
        options: CompileOptions,
        counters: CompileCounters,
        turn: threading.RLock,
        on_compile: OnCompile | None = None,
    ) -> None:
        self._vae = vae
        self._turn = turn
        self._graphs = Graphs(backend=backend, options=options, counters=counters, on_compile=on_compile)
        self._options = options
        self._watch = ModelWatch(vae.decoder)

    def __call__(self, latents: Tensor, *, num_frames: int, return_dict: bool = False) -> tuple[Tensor]:
        """Frames (batch * frames, 3, height, width) of latents (batch * frames, channels, height / 8, width / 8)."""
        with self._turn:
            self._follow_model()
            around = ambient(latents.device)
            key = ("decoder", num_frames, around, () if self._options.dynamic else described((latents,)))

            def make() -> Pass:
                module = _Decode(self._vae.decoder, num_frames)
                name = f"decoder, {' x '.join(map(str, latents.shape))}"
                here = machine(latents.device)
                return Pass(name, module, digest(traced_state(module), key, self._options.of_code, here))

            (frames,) = self._graphs(key, (latents,), make)
            return (frames,)

    def _follow_model(self) -> None:
        if self._watch.is_changed():
            self._graphs.clear()
            self._watch = ModelWatch(self._vae.decoder)
        elif self._watch.are_weights_changed():
            self._graphs.refresh()


class _Decode(nn.Module):
    """What `AutoencoderKLTemporalDecoder.decode` does with latents: no frame is a picture of its own."""

    def __init__(self, decoder: nn.Module, num_frames: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.num_frames = num_frames

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        """The frames."""
        batch = latents.shape[0] // self.num_frames
        pictures = torch.zeros(batch, self.num_frames, dtype=latents.dtype, device=latents.device)
        return (self.decoder(latents, num_frames=self.num_frames, image_only_indicator=pictures),)
