"""What a UNet may carry (LoRA, FreeU, IP-Adapter): exact at every branch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor
from diffusers.models.embeddings import ImageProjection
from models import CONTEXT, Call, randomised, sd15_pipeline, sd15_unet, tiny_unet
from peft import LoraConfig, get_peft_model_state_dict
from runs import assert_exact, record_passes, sample
from torch import Tensor

from skipstep import DeepCache, speed_up

pytestmark = pytest.mark.usefixtures("no_grad")
LORA = LoraConfig(r=2, target_modules=["to_q", "to_v", "conv_in", "conv1"], init_lora_weights=False)


def lora_weights() -> dict[str, Tensor]:
    """A LoRA file's contents for the SD1.5 shape; it reaches `conv_in`, resnets and attentions."""
    unet = sd15_unet()
    torch.manual_seed(5)
    unet.add_adapter(LORA)
    return {f"unet.{name}": weight for name, weight in get_peft_model_state_dict(unet).items()}


def load_lora(pipe: Any) -> None:
    pipe.load_lora_weights(lora_weights())


def enable_freeu(pipe: Any) -> None:
    pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)


def load_ip_adapter(unet: Any) -> None:
    """Random weights in the layout of an IP-Adapter file, for four image tokens."""
    layers: dict[str, Tensor] = {}
    crossing = [name for name in unet.attn_processors if "attn2" in name]
    for number, name in enumerate(crossing):
        hidden = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        processor = randomised(IPAdapterAttnProcessor(hidden_size=hidden, cross_attention_dim=CONTEXT), seed=number)
        for part in ("to_k_ip", "to_v_ip"):
            layers[f"{2 * number + 1}.{part}.weight"] = processor.state_dict()[f"{part}.0.weight"]
    image = ImageProjection(image_embed_dim=CONTEXT, cross_attention_dim=CONTEXT, num_image_text_embeds=4)
    state = randomised(image, seed=7).state_dict()
    projection = {name.replace("image_embeds", "proj"): weight for name, weight in state.items()}
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": layers}])


@pytest.mark.parametrize("put_on", [load_lora, enable_freeu])
def test_what_is_on_the_unet_is_exact_at_every_branch(put_on: Callable[[Any], None]) -> None:
    tiny = tiny_unet("sd15")
    pipe = sd15_pipeline(unet=tiny.unet)
    before = tiny(0)
    put_on(pipe)
    assert not torch.equal(assert_exact(tiny.unet, range(12), lambda: tiny.inputs(0)), before)


def test_a_lora_scale_reaches_both_passes() -> None:
    tiny = tiny_unet("sd15")
    pipe = sd15_pipeline(unet=tiny.unet)
    load_lora(pipe)
    args, kwargs = tiny.inputs(0)
    scaled = assert_exact(
        tiny.unet, range(0, 12, 3), lambda: (args, {**kwargs, "cross_attention_kwargs": {"scale": 0.5}})
    )
    assert not torch.equal(scaled, tiny(0))


def test_an_ip_adapter_is_exact_at_every_branch() -> None:
    tiny = tiny_unet("sd15")
    load_ip_adapter(tiny.unet)

    def call(seed: int) -> Call:
        args, kwargs = tiny.inputs(0)
        image = torch.randn(2, 1, CONTEXT, generator=torch.Generator().manual_seed(seed))
        return args, {**kwargs, "added_cond_kwargs": {"image_embeds": [image]}}

    output = assert_exact(tiny.unet, range(12), lambda: call(1))
    assert not torch.equal(output, tiny.unet(*call(2)[0], **call(2)[1])[0])  # another image, another output


@pytest.mark.parametrize("put_on", [load_lora, enable_freeu])
@pytest.mark.parametrize("when", ["before", "during"])
def test_the_pipeline_with_it_on_is_exact_at_interval_1(put_on: Callable[[Any], None], when: str) -> None:
    pipe, loaded = sd15_pipeline(), sd15_pipeline()
    put_on(loaded)
    expected, without = sample(loaded), sample(pipe)
    if when == "before":
        put_on(pipe)
    with speed_up(pipe, DeepCache(interval=1)):
        if when == "during":
            assert torch.equal(sample(pipe), without)
            put_on(pipe)
        assert torch.equal(sample(pipe), expected)
    assert torch.equal(sample(pipe), expected)
    assert not torch.equal(expected, without)


def test_the_pipeline_with_an_ip_adapter_is_exact_at_interval_1() -> None:
    pipe = sd15_pipeline()
    load_ip_adapter(pipe.unet)
    image = torch.randn(2, 1, CONTEXT, generator=torch.Generator().manual_seed(1))
    expected = sample(pipe, ip_adapter_image_embeds=[image])
    with speed_up(pipe, DeepCache(interval=1)):
        assert torch.equal(sample(pipe, ip_adapter_image_embeds=[image]), expected)
    assert not torch.equal(sample(pipe, ip_adapter_image_embeds=[image + 1]), expected)


@pytest.mark.parametrize("put_on", [load_lora, enable_freeu])
@pytest.mark.parametrize("branch", [0, 4, 11])
def test_what_is_put_on_between_passes_is_in_the_next_full_pass(put_on: Callable[[Any], None], branch: int) -> None:
    tiny = tiny_unet("sd15")
    host = sd15_pipeline(unet=tiny.unet)
    pipe = SimpleNamespace(unet=tiny.unet)
    with speed_up(pipe, DeepCache(interval=2, branch=branch, forecast="verbatim")) as run:
        passes = record_passes(run)
        (latents, timestep, context), kwargs = tiny.inputs(0)
        plain = tiny(0)
        for _ in range(2):  # each call is a step of its own
            assert torch.equal(pipe.unet(latents, timestep.clone(), context, **kwargs)[0], plain)
        put_on(host)
        loaded = tiny(0)
        for _ in range(2):
            assert torch.equal(pipe.unet(latents, timestep.clone(), context, **kwargs)[0], loaded)
    assert not torch.equal(loaded, plain)
    assert passes == ["FrFr"]


@pytest.mark.parametrize("put_on", [load_lora, enable_freeu])
def test_what_a_callback_puts_on_mid_run_takes_effect(put_on: Callable[[Any], None]) -> None:
    def run(*, switch_at: int | None) -> list[Tensor]:
        seen: list[Tensor] = []

        def callback(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen.append(tensors["latents"])
            if step == switch_at:
                put_on(pipe)
            return tensors

        pipe = sd15_pipeline()
        with speed_up(pipe, DeepCache(interval=3)):
            sample(pipe, steps=10, callback_on_step_end=callback)
        return seen

    plain, switched = run(switch_at=None), run(switch_at=4)
    same = [torch.equal(a, b) for a, b in zip(plain, switched, strict=True)]
    assert all(same[:5])
    assert not any(same[6:])  # evaluation 6 is the next full pass
