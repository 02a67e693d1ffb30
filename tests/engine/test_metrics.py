from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from skipstep.engine.metrics import flicker_errors, flicker_ratio, latent_psnr, latent_relative_error, video_psnr
from skipstep.errors import OptionError

Frames = npt.NDArray[np.uint8]


def _video(*levels: int) -> Frames:
    """One flat 4 x 6 frame a grey level."""
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def test_latent_relative_error_is_the_ratio_of_lengths() -> None:
    reference = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # length 5
    off = reference + torch.tensor([[0.0, 0.6], [0.8, 0.0]])  # length 1 away
    assert latent_relative_error(reference, off) == pytest.approx(0.2, rel=1e-6)
    assert latent_relative_error(100 * reference, 100 * off) == pytest.approx(0.2, rel=1e-6)  # no unit
    assert latent_relative_error(reference, reference.clone()) == 0
    assert latent_relative_error(off, reference) != latent_relative_error(reference, off)  # the reference's length


def test_latent_relative_error_of_a_reference_of_zeros() -> None:
    zeros = torch.zeros(2, 2)
    assert latent_relative_error(zeros, zeros) == 0
    assert latent_relative_error(zeros, zeros + 1) == math.inf


def test_latent_metrics_agree_where_the_range_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(1, 4, 8, 8, generator=generator)
    off = reference + 0.01 * torch.randn(1, 4, 8, 8, generator=generator)
    peak = (reference.max() - reference.min()).item()
    error = latent_relative_error(reference, off) * reference.double().square().mean().sqrt().item()
    assert latent_psnr(reference, off) == pytest.approx(20 * math.log10(peak / error), abs=1e-6)


def test_half_precision_is_summed_in_double() -> None:
    reference = torch.full((1, 4, 128, 128), 8.0, dtype=torch.float16)  # its squares sum to more than float16 holds
    assert latent_relative_error(reference, reference * 1.5) == pytest.approx(0.5)


def test_video_psnr_is_one_figure_a_frame() -> None:
    figures = video_psnr(_video(100, 100, 100), _video(100, 110, 95))
    assert figures[0] == math.inf
    assert figures[1:] == pytest.approx([20 * math.log10(255 / 10), 20 * math.log10(255 / 5)])


@pytest.mark.parametrize(
    ("video", "ratio"),
    [
        ((10, 20, 10), 1.0),
        ((60, 70, 60), 1.0),  # brighter, and no more flicker
        ((10, 40, 10), 3.0),
        ((10, 15, 10), 0.5),  # motion lost
        ((10, 10, 10), 0.0),
        ((250, 4, 250), 24.6),  # differences of bytes must not wrap around to 10
    ],
)
def test_flicker_is_the_ratio_of_temporal_changes(video: tuple[int, ...], ratio: float) -> None:
    assert flicker_ratio(_video(10, 20, 10), _video(*video)) == pytest.approx(ratio)


def test_flicker_over_a_reference_that_stands_still() -> None:
    assert flicker_ratio(_video(10, 10), _video(90, 90)) == 1
    assert flicker_ratio(_video(10, 10), _video(10, 11)) == math.inf


def test_flicker_does_not_see_what_differs_in_space_alone() -> None:
    generator = np.random.default_rng(0)
    still = np.repeat(generator.integers(0, 255, (1, 4, 6, 3), np.uint8), 3, axis=0)
    assert still.std() > 10
    assert flicker_ratio(_video(10, 10, 10), still) == 1


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (_video(1, 2)[..., 0], r"must be (frames, height, width, 3) of uint8, got (2, 4, 6) of uint8"),
        (_video(1, 2).astype(np.float32), "got (2, 4, 6, 3) of float32"),
        (_video(1, 2, 3), "must have the reference's shape (2, 4, 6, 3), got (3, 4, 6, 3)"),
    ],
)
def test_videos_that_cannot_be_compared(video: Frames, message: str) -> None:
    for measure in (video_psnr, flicker_ratio):
        with pytest.raises(OptionError) as refusal:
            measure(_video(1, 2), video)
        assert message in str(refusal.value)


def test_flicker_needs_two_frames() -> None:
    for measure in (flicker_ratio, flicker_errors):
        with pytest.raises(OptionError, match="must have 2 frames or more, got 1"):
            measure(_video(1), _video(1))


@pytest.mark.parametrize(
    ("video", "errors"),
    [
        ((10, 20, 10), [0, 0]),
        ((60, 70, 60), [0, 0]),  # off by the same in every frame: no flicker
        ((10, 24, 10), [4, 4]),
        ((10, 20, 13), [0, 3]),
        ((250, 4, 250), [256, 256]),  # bytes must not wrap around
    ],
)
def test_flicker_errors_are_those_of_the_changes(video: tuple[int, ...], errors: list[float]) -> None:
    assert flicker_errors(_video(10, 20, 10), _video(*video)) == pytest.approx(errors)


def test_flicker_errors_do_not_cancel_out_over_a_frame() -> None:
    half = _video(10, 20)
    half[1, :, :3] += 6
    half[1, :, 3:] -= 6
    assert flicker_ratio(_video(10, 20), half) == pytest.approx(1.0)
    assert flicker_errors(_video(10, 20), half) == pytest.approx([6.0])
