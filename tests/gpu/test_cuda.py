"""What only a CUDA device shows: half precision, device times, memory."""

from __future__ import annotations

import pytest
import torch

from skipstep import DeepCache, speed_up
from skipstep.deepcache import DiffusersUNetSplit
from skipstep.demo import load_demo_sdxl
from skipstep.engine.metrics import latent_psnr

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("branch", range(9))
@torch.no_grad()
def test_both_passes_equal_the_plain_unet_in_half_precision(dtype: torch.dtype, branch: int) -> None:
    unet = load_demo_sdxl(dtype).unet.to("cuda")
    seed = torch.Generator("cuda").manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=seed, device="cuda", dtype=dtype)

    inputs = (noise(2, 4, 16, 16), torch.tensor(500, device="cuda"), noise(2, 77, 128))
    added = {"text_embeds": noise(2, 64), "time_ids": torch.full((2, 6), 128.0, device="cuda", dtype=dtype)}
    expected = unet(*inputs, added_cond_kwargs=added).sample
    assert expected.float().std() > 1e-3
    split = DiffusersUNetSplit(unet, branch)
    output, features = split.full(*inputs, added_cond_kwargs=added)
    assert torch.equal(output.sample, expected)
    assert torch.equal(split.reuse(features, *inputs, added_cond_kwargs=added).sample, expected)


def test_half_precision_forecasts_as_well_as_single() -> None:
    def loss(dtype: torch.dtype) -> float:
        pipe = load_demo_sdxl(dtype).to("cuda")
        pipe.set_progress_bar_config(disable=True)

        def latents() -> torch.Tensor:
            seed = torch.Generator().manual_seed(0)
            drawn: torch.Tensor = pipe(
                "a fox on a blue background", num_inference_steps=30, guidance_scale=3.0, generator=seed,
                output_type="latent",
            ).images  # fmt: skip
            return drawn.float().cpu()

        plain = latents()
        with speed_up(pipe, DeepCache(interval=3)):
            return latent_psnr(plain, latents())

    assert loss(torch.float16) == pytest.approx(loss(torch.float32), abs=3)


def test_times_come_from_the_device_and_memory_is_given_back() -> None:
    pipe = load_demo_sdxl(torch.float16).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    pipe("a fox", num_inference_steps=2)
    before = torch.cuda.memory_allocated()
    with speed_up(pipe, DeepCache(interval=3)) as run:
        pipe("a fox", num_inference_steps=30, output_type="latent")
        report = run.report
    assert report.passes == "Frr" * 10
    assert all(seconds > 0 for seconds in (*report.full_s, *report.reuse_s))
    assert sum(report.reuse_s) / 20 < sum(report.full_s) / 10
    assert torch.cuda.memory_allocated() <= before + 2**20
