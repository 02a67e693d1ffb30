"""The demo models are ordinary ones: patched, cloned, unloaded, previewed and loaded anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skipstep.errors import ModelLoadError

if TYPE_CHECKING:
    from host.process import Core, Pack

LORA_WEIGHTS = {  # kohya's name of a diffusers module, and its name in ComfyUI
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k": (
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    ),
    "lora_unet_mid_block_attentions_0_proj_in": "diffusion_model.middle_block.1.proj_in.weight",
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (
        "clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight"
    ),
    "lora_te2_text_model_encoder_layers_1_mlp_fc1": ("clip_g.transformer.text_model.encoder.layers.1.mlp.fc1.weight"),
}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def demo(pack: Pack) -> Any:
    """The package of the conversion."""
    return pack.module("comfy_nodes.demo")


@pytest.fixture(scope="module")
def sdxl(demo: Any) -> Any:
    """MODEL, CLIP and VAE."""
    with torch.inference_mode():
        return demo.load_demo_checkpoint("SDXL")


def sample(core: Core, model: Any, clip: Any, *, seed: int = 0) -> Tensor:
    (text,) = core.call("CLIPTextEncode", clip=clip, text="a cat on a green background")
    (latent,) = core.call("EmptyLatentImage", width=96, height=96, batch_size=1)
    options: dict[str, Any] = {"steps": 3, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    (drawn,) = core.call(
        "KSampler", model=model, seed=seed, positive=text, negative=text, latent_image=latent, **options
    )
    samples: Tensor = drawn["samples"]
    return samples


def lora(sdxl: Any) -> dict[str, Tensor]:
    """Rank 2, on the weights of `LORA_WEIGHTS`."""
    made = {}
    weights = {**sdxl.model.model.state_dict(), **sdxl.clip.cond_stage_model.state_dict()}
    for seed, (kohya, name) in enumerate(LORA_WEIGHTS.items()):
        generator = torch.Generator().manual_seed(seed)
        rows, columns = weights[name].shape
        made[f"{kohya}.lora_up.weight"] = torch.randn(rows, 2, generator=generator)
        made[f"{kohya}.lora_down.weight"] = 0.3 * torch.randn(2, columns, generator=generator)
        made[f"{kohya}.alpha"] = torch.tensor(2.0)
    return made


def test_lora_reaches_its_weights_and_leaves_them(core: Core, sdxl: Any) -> None:
    import comfy.sd

    before = sample(core, sdxl.model, sdxl.clip)
    model, clip = comfy.sd.load_lora_for_models(sdxl.model, sdxl.clip, lora(sdxl), 1.0, 1.0)
    assert {*model.patches, *clip.patcher.patches} == set(LORA_WEIGHTS.values())
    only_model, only_clip = sample(core, model, sdxl.clip), sample(core, sdxl.model, clip)
    assert (only_model - before).norm() > 1e-2 * before.norm()
    assert (only_clip - before).norm() > 1e-2 * before.norm()
    assert torch.equal(sample(core, sdxl.model, sdxl.clip), before)


def test_a_model_comes_back_from_being_unloaded(core: Core, sdxl: Any) -> None:
    import comfy.model_management

    before = sample(core, sdxl.model, sdxl.clip)
    assert sdxl.model.loaded_size() == sdxl.model.model_size() > 1e6
    comfy.model_management.unload_all_models()
    assert sdxl.model.loaded_size() == 0
    assert torch.equal(sample(core, sdxl.model.clone(), sdxl.clip.clone()), before)
    assert not torch.equal(sample(core, sdxl.model, sdxl.clip, seed=1), before)


@pytest.mark.parametrize("kind", ["SDXL", "SD1.5", "SVD"])
def test_every_part_can_be_loaded_anew(demo: Any, kind: str) -> None:
    checkpoint = demo.load_demo_video_checkpoint() if kind == "SVD" else demo.load_demo_checkpoint(kind)
    patchers = [checkpoint.model, checkpoint.vae.patcher]
    if kind != "SVD":
        patchers.append(checkpoint.clip.patcher)
    for patcher in patchers:
        load, arguments = patcher.cached_patcher_init
        fresh, own = load(*arguments, disable_dynamic=True).model.state_dict(), patcher.model.state_dict()
        assert fresh.keys() == own.keys()
        assert all(torch.equal(fresh[name], own[name]) for name in own)
        assert all(fresh[name].data_ptr() != own[name].data_ptr() for name in own)


@pytest.mark.parametrize(
    ("kind", "predicts", "levels"),
    [("SDXL", "V_PREDICTION", 14.6), ("SD1.5", "EPS", 14.6), ("SVD", "V_PREDICTION_EDM", 700.0)],
)
def test_what_is_predicted_and_from_which_noise(demo: Any, kind: str, predicts: str, levels: float) -> None:
    checkpoint = demo.load_demo_video_checkpoint() if kind == "SVD" else demo.load_demo_checkpoint(kind)
    model = checkpoint.model.model
    assert model.model_type.name == predicts
    assert float(model.model_sampling.sigma_max) == pytest.approx(levels, rel=1e-2)


def test_no_model_becomes_known_to_the_detection_of_checkpoints(demo: Any) -> None:
    import comfy.supported_models

    before = list(comfy.supported_models.models)
    demo.load_demo_checkpoint("SD1.5")
    assert comfy.supported_models.models == before
    assert not any(kind.__name__.startswith("Demo") for kind in before)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_previews_have_the_mean_colour_of_every_block(demo: Any, kind: str) -> None:
    from demo_model.latents import preview
    from latent_preview import Latent2RGBPreviewer

    checkpoint = demo.load_demo_video_checkpoint() if kind == "video" else demo.load_demo_checkpoint("SDXL")
    form = checkpoint.model.model.latent_format
    latents = 0.5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = (preview(latents)[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1) * 255
    shown = Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    picture = torch.from_numpy(np.array(shown.decode_latent_to_preview(latents))).float()
    assert expected.std() > 10
    assert (picture - expected).abs().max() <= 1.01  # it cuts off what is behind the point

    picture = torch.full((1, 64, 64, 3), 0.5)
    picture[:, :, 32:, 0] = 0.9
    own = form.process_in(checkpoint.vae.encode(picture))
    colours = preview(own)[0].movedim(0, -1) / 2 + 0.5
    assert (colours[:, [1, 6]] - picture[0, :8, [8, 56]]).abs().max() < 0.1  # away from the edge


def test_weights_that_comfyui_does_not_have_are_an_error(pack: Pack) -> None:
    check_names = pack.module("comfy_nodes.demo.weights").check_names
    check_names("UNet", {"a", "b"}, {"b", "a"})
    with pytest.raises(ModelLoadError, match=r"UNet .* \(2 differ, such as c, d\); .* 0.30.0"):
        check_names("UNet", {"a", "c"}, {"a", "d"})
