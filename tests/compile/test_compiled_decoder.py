"""The video decoder as graphs: the VAE's own frames, a graph for each shape, and followed when it changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import randomised

from skipstep.compile import CompileOptions, Compiler

BACKENDS = ("eager", "openvino")


@pytest.fixture
def vae() -> Any:
    from diffusers import AutoencoderKLTemporalDecoder

    made = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4
    )
    return randomised(made)


def _latents(frames: int, side: int = 8) -> torch.Tensor:
    return torch.randn(frames, 4, side, side, generator=torch.Generator().manual_seed(frames))


def _decode(vae: Any, latents: torch.Tensor, frames: int) -> torch.Tensor:
    with torch.no_grad():
        made: torch.Tensor = vae.decode(latents, num_frames=frames, return_dict=False)[0]
    return made


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("frames", [1, 3])
def test_frames_are_the_vaes_own(vae: Any, name: str, frames: int) -> None:
    compiler = Compiler(name)
    if not compiler.backend.available().ok:
        pytest.skip(f"{name}: {compiler.backend.available()}")
    latents = _latents(2 * frames)
    expected = _decode(vae, latents, frames)
    with torch.no_grad():
        (made,) = compiler.decoder(vae)(latents, num_frames=frames, return_dict=False)
    assert expected.std() > 1e-3
    if name == "eager":
        assert torch.equal(made, expected)
    else:
        assert (made - expected).abs().max() < 1e-4 * expected.abs().max()
        assert compiler.counters.hits == 1


def test_each_shape_has_its_graph_and_keeps_it(vae: Any) -> None:
    compiler = Compiler("openvino")
    decode = compiler.decoder(vae)
    assert compiler.decoder(vae) is decode
    with torch.no_grad():
        for _ in range(2):
            for frames, side in ((2, 8), (4, 8), (2, 10)):
                decode(_latents(frames, side), num_frames=frames)
    assert compiler.counters.compiles + compiler.counters.loads == 3
    assert compiler.counters.hits == 6


def test_changed_weights_are_followed(vae: Any) -> None:
    decode = Compiler("openvino").decoder(vae)
    latents = _latents(2)
    with torch.no_grad():
        (before,) = decode(latents, num_frames=2)
        vae.decoder.conv_in.weight.mul_(1.5)
        (after,) = decode(latents, num_frames=2)
    expected = _decode(vae, latents, 2)
    assert (after - expected).abs().max() < 1e-4 * expected.abs().max()
    assert not torch.allclose(before, after)


def test_regional_compilation_leaves_the_decoder_alone(vae: Any) -> None:
    assert Compiler("inductor", CompileOptions(regional=True)).decoder(vae) == vae.decode
