"""Runs that change under the session's hands: sizes, guidance, threads, shared UNets, offloading, odd pipelines."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any

import accelerate
import pytest
import torch
from diffusers import HeunDiscreteScheduler
from models import sd15_pipeline, sd15_unet, sdxl_pipeline, tiny_unet
from runs import record_passes, sample
from torch import Tensor

from skipstep import DeepCache, speed_up

THIRD = DeepCache(interval=3, branch=1)


def alone(build: Callable[[], Any], **call: Any) -> Tensor:
    """What a pipeline of its own makes of one call, features reused."""
    pipe = build()
    with speed_up(pipe, THIRD):
        return sample(pipe, **call)


def test_size_steps_batch_and_guidance_may_change_from_call_to_call() -> None:
    calls: list[dict[str, Any]] = [
        {"steps": 10},
        {"steps": 12, "height": 48, "width": 32},
        {"steps": 10, "batch": 2, "seed": 1},
        {"steps": 11, "guidance_scale": 1.0},
        {"steps": 10, "num_images_per_prompt": 2},
        {"steps": 10},
    ]
    pipe = sd15_pipeline()
    with speed_up(pipe, THIRD) as run:
        passes = record_passes(run)
        outputs = [sample(pipe, **call) for call in calls]
    assert passes == [("Frr" * 4)[: call["steps"]] for call in calls]
    for call, output in zip(calls, outputs, strict=True):
        assert torch.equal(output, alone(sd15_pipeline, **call)), call
    assert torch.equal(outputs[0], outputs[-1])
    assert not torch.equal(outputs[0], sample(pipe, **calls[0]))  # features were reused at all


def test_a_batch_holds_what_its_members_would_be_alone() -> None:
    # not bit for bit: matrix products of another shape round otherwise
    pipe = sd15_pipeline()
    generator = torch.Generator().manual_seed(3)
    noise, context = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 5, 24, generator=generator)

    def run(rows: slice) -> Tensor:
        call = {"prompt_embeds": context[rows], "negative_prompt_embeds": -context[rows]}
        with speed_up(pipe, THIRD):
            return sample(pipe, steps=10, latents=noise[rows].clone(), **call)

    both = run(slice(0, 2))
    for row in (0, 1):
        torch.testing.assert_close(both[row], run(slice(row, row + 1))[0], rtol=1e-3, atol=1e-3 * float(both.std()))
    assert (both[0] - both[1]).abs().mean() > 0.1 * both.std()


def cut_guidance(at: int) -> dict[str, Any]:
    """Arguments of a call that drops the unconditional half of the batch after step `at`."""

    def callback(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == at:
            pipe._guidance_scale = 0.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[1]
        return tensors

    return {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}


def test_guidance_switched_off_mid_run_starts_with_a_full_pass() -> None:
    pipe = sd15_pipeline()
    plain = sample(pipe, steps=10, **cut_guidance(4))
    with speed_up(pipe, DeepCache(interval=1)):
        assert torch.equal(sample(pipe, steps=10, **cut_guidance(4)), plain)
    with speed_up(pipe, THIRD) as run:
        passes = record_passes(run)
        assert not torch.equal(sample(pipe, steps=10, **cut_guidance(4)), plain)
    assert passes == ["FrrFr" + "FrrFr"]
    assert not torch.equal(sample(pipe, steps=10), plain)


def test_heun_reuses_in_both_of_its_evaluations() -> None:
    def build() -> Any:
        pipe = sd15_pipeline()
        pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
        return pipe

    pipe = build()
    with speed_up(pipe, THIRD) as run:
        passes = record_passes(run)
        output = sample(pipe, steps=10)
    assert passes == ["Frr" * 6 + "F"]
    assert not torch.equal(output, sample(pipe, steps=10))


@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
def test_two_pipelines_in_two_threads_share_a_unet_and_no_features() -> None:
    unet = sd15_unet()
    pipes = [sd15_pipeline(unet=unet), sd15_pipeline(unet=unet)]
    options = [DeepCache(interval=3, branch=0), DeepCache(interval=2, branch=7)]
    expected = []
    for seed, (pipe, option) in enumerate(zip(pipes, options, strict=True)):
        with speed_up(pipe, option):
            expected.append(sample(pipe, steps=8, seed=seed))
    barrier = Barrier(2, timeout=60)

    def in_step(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        barrier.wait()  # both take each step at the same time
        return tensors

    outputs: list[Any] = [None, None]

    def work(seed: int) -> None:
        with speed_up(pipes[seed], options[seed]):
            outputs[seed] = sample(pipes[seed], steps=8, seed=seed, callback_on_step_end=in_step)

    threads = [Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(outputs[0], expected[0])
    assert torch.equal(outputs[1], expected[1])
    assert not torch.equal(outputs[0], outputs[1])
    assert pipes[0].unet is pipes[1].unet is unet


def test_two_pipelines_attached_at_once_share_a_unet() -> None:
    unet = sd15_unet()
    one, other = sd15_pipeline(unet=unet), sd15_pipeline("img2img", unet=unet)
    with speed_up(one, THIRD), speed_up(other, THIRD):
        outputs = [sample(one, steps=10), sample(other, steps=14), sample(one, steps=10)]
    assert one.unet is other.unet is unet
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[0], alone(sd15_pipeline, steps=10))
    assert torch.equal(outputs[1], alone(lambda: sd15_pipeline("img2img"), steps=14))


class TwicePerStep:
    """A pipeline that evaluates each step twice on the same conditioning, as perturbed guidance does."""

    def __init__(self, unet: Any) -> None:
        self.unet = unet

    @torch.no_grad()
    def __call__(self, *, steps: int, offset: float) -> tuple[Tensor, Tensor]:
        (latents, _, context), kwargs = tiny_unet("sd15").inputs(0)
        timesteps = torch.arange(steps).flip(0) * 50
        for timestep in timesteps:
            plain = self.unet(latents, timestep, context, **kwargs)[0]
            shifted = self.unet(latents + offset, timestep, encoder_hidden_states=context, **kwargs)[0]
            latents = latents - 0.1 * plain
        if hasattr(self.unet, "_reset_stateful_cache"):  # diffusers pipelines do so when they return
            self.unet._reset_stateful_cache()
        return plain, shifted


def test_two_evaluations_of_one_step_are_kept_apart() -> None:
    pipe = TwicePerStep(sd15_unet())
    options = DeepCache(interval=6, branch=0, forecast="verbatim")
    with speed_up(pipe, options) as run:
        passes = record_passes(run)
        first, shifted = pipe(steps=3, offset=1.0)
        same, _ = pipe(steps=3, offset=0.0)
    assert passes == ["FFrrrr", "FFrrrr"]
    assert torch.equal(first, same)  # the second evaluation leaves no trace in the first
    assert not torch.equal(first, shifted)


@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
@pytest.mark.parametrize("when", ["before", "during"])
def test_accelerates_offload_hooks_change_nothing(when: str) -> None:
    def sequential(pipe: Any) -> None:
        for model in (pipe.unet, pipe.vae):  # the pipeline asks the hooks of the first for its device
            accelerate.cpu_offload(model, execution_device=torch.device("cpu"))

    def whole(pipe: Any) -> None:
        for model in (pipe.unet, pipe.vae):
            accelerate.cpu_offload_with_hook(model, execution_device=torch.device("cpu"))

    expected = sample(sd15_pipeline(), steps=4)
    cached = alone(sd15_pipeline, steps=4)
    for offload in (sequential, whole):
        for options, output in ((DeepCache(interval=1), expected), (THIRD, cached)):
            pipe = sd15_pipeline()
            if when == "before":
                offload(pipe)
            with speed_up(pipe, options) as run:
                if when == "during":
                    offload(pipe)
                assert hasattr(pipe.unet, "_hf_hook")
                assert torch.equal(sample(pipe, steps=4), output), (offload.__name__, options.interval)
            assert pipe.unet.conv_in.weight.is_meta is (offload is sequential)
            assert offload is whole or run.report.flops is None  # there are no weights to count on
    assert not torch.equal(expected, cached)


@pytest.mark.gpu
@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
@pytest.mark.parametrize("options", [DeepCache(interval=1), THIRD])
def test_the_pipelines_own_offload_changes_nothing(offload: str, options: DeepCache) -> None:
    resident = sdxl_pipeline().to("cuda")
    with speed_up(resident, options):
        expected = sample(resident, steps=10)
    pipe = sdxl_pipeline()
    getattr(pipe, offload)()
    with speed_up(pipe, options) as run:
        assert torch.equal(sample(pipe, steps=10), expected)
        assert torch.equal(sample(pipe, steps=10), expected)
    assert run.report.evaluations == 10
    assert run.report.loop_s > 0


def test_a_pipeline_without_a_scheduler_or_a_length_still_runs() -> None:
    tiny = tiny_unet("sd15")
    pipe = SimpleNamespace(unet=tiny.unet)
    args, kwargs = tiny.inputs(0)
    with torch.no_grad(), speed_up(pipe, THIRD) as run:
        passes = record_passes(run)
        assert torch.equal(pipe.unet(*args, **kwargs)[0], tiny(0))
    assert passes == ["F"]
    assert len(run._finished) == 1  # leaving the block ends the run
