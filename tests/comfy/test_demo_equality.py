"""The demo models in ComfyUI against the same weights in diffusers, network by network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

if TYPE_CHECKING:
    from host.process import Core, Pack

CLOSE = 1e-5  # float32, in another order of operations; most are equal bit for bit
CLOSE_VIDEO = 1e-4  # diffusers normalises some of SVD's blocks with an epsilon of 1e-6, ComfyUI all with 1e-5
FRAMES = 6
PROMPTS = (
    "a fox on a blue background",
    "A Cat and a dog, on a white background.",
    "",
    "a zebra riding a bicycle in front of a tree",  # words without embeddings
    "(a red apple) next to a pizza",
)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def sdxl(core: Core, pack: Pack) -> Any:
    """MODEL, CLIP and VAE."""
    assert pack.node_ids >= {"SkipstepDemoCheckpoint"}
    return core.call("SkipstepDemoCheckpoint", model="SDXL")


@pytest.fixture(scope="module")
def sd15(core: Core, pack: Pack) -> Any:
    """MODEL, CLIP and VAE."""
    assert pack.node_ids >= {"SkipstepDemoCheckpoint"}
    return core.call("SkipstepDemoCheckpoint", model="SD1.5")


@pytest.fixture(scope="module")
def svd(core: Core, pack: Pack) -> Any:
    """MODEL, CLIP_VISION and VAE."""
    assert pack.node_ids >= {"SkipstepDemoVideoCheckpoint"}
    return core.call("SkipstepDemoVideoCheckpoint")


@pytest.fixture(scope="module")
def sdxl_pipe() -> Any:
    from skipstep.demo import load_demo_sdxl

    return load_demo_sdxl()


@pytest.fixture(scope="module")
def sd15_pipe() -> Any:
    from skipstep.demo import load_demo_sd15

    return load_demo_sd15()


@pytest.fixture(scope="module")
def svd_pipe() -> Any:
    from skipstep.demo import load_demo_svd

    return load_demo_svd()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distance(one: Tensor, other: Tensor) -> float:
    """Relative to the second, which is not empty of information."""
    assert one.shape == other.shape
    assert other.std() > 1e-3
    return float((one - other).norm() / other.norm())


def scene() -> Tensor:
    """A picture like those the models know, (1, 128, 128, 3) in 0..1: a disc on a slope of colours."""
    x, y = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 128), indexing="xy")
    inside = (((x - 0.5) ** 2 + (y - 0.6) ** 2) < 0.06).float()[..., None]
    sky = torch.stack((0.2 + 0.2 * y, 0.4 + 0.2 * y, 0.9 - 0.1 * y), -1)
    return (inside * torch.tensor((0.9, 0.2, 0.1)) + (1 - inside) * sky)[None]


def embedded(values: Tensor) -> Tensor:
    """Sizes or ids as diffusers embeds them, one after the other."""
    from diffusers.models.embeddings import Timesteps

    return Timesteps(256, True, 0)(values.flatten()).reshape(values.shape[0], -1)


def test_unet_of_sdxl(sdxl: Any, sdxl_pipe: Any) -> None:
    latents, steps = noise(2, 4, 16, 12), torch.tensor([700.0, 20.0])
    text, pooled = noise(2, 77, 128, seed=1), noise(2, 64, seed=2)
    ids = torch.tensor([[128.0, 96, 0, 0, 128, 96], [128.0, 96, 8, 0, 64, 96]])
    added = {"text_embeds": pooled, "time_ids": ids}
    expected = sdxl_pipe.unet(latents, steps, text, added_cond_kwargs=added).sample
    unet = sdxl[0].model.diffusion_model
    adm = torch.cat((pooled, embedded(ids)), 1)
    assert distance(unet(latents, timesteps=steps, context=text, y=adm), expected) < CLOSE
    assert distance(unet(latents, timesteps=steps, context=text, y=adm.flip(0)), expected) > 1e-2


def test_unet_of_sd15(sd15: Any, sd15_pipe: Any) -> None:
    latents, steps, text = noise(2, 4, 16, 16), torch.tensor([700.0, 20.0]), noise(2, 77, 64, seed=1)
    expected = sd15_pipe.unet(latents, steps, text).sample
    unet = sd15[0].model.diffusion_model
    assert distance(unet(latents, timesteps=steps, context=text), expected) < CLOSE
    assert distance(unet(latents, timesteps=steps, context=text.flip(0)), expected) > 1e-2


def test_unet_and_added_ids_of_svd(svd: Any, svd_pipe: Any) -> None:
    latents, step, picture = noise(1, FRAMES, 8, 16, 16), torch.tensor([1.2]), noise(1, 1, 32, seed=1)
    ids = torch.tensor([[7.0 - 1, 127.0, 0.02]])  # the pipeline takes one off the frame rate
    expected = svd_pipe.unet(latents, step, picture, added_time_ids=ids).sample[0]
    model = svd[0].model
    adm = model.encode_adm(fps=7, motion_bucket_id=127, augmentation_level=0.02)
    assert torch.equal(adm, embedded(ids))

    def predicted(adm: Tensor) -> Tensor:
        made: Tensor = model.diffusion_model(
            latents[0],
            timesteps=step.repeat(FRAMES),
            context=picture.repeat(FRAMES, 1, 1),
            y=adm.repeat(FRAMES, 1),
            num_video_frames=FRAMES,
        )
        return made

    assert distance(predicted(adm), expected) < CLOSE_VIDEO
    other = model.encode_adm(fps=7, motion_bucket_id=20, augmentation_level=0.02)
    assert distance(predicted(other), expected) > 1e-2


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_of_sdxl(sdxl: Any, sdxl_pipe: Any, prompt: str) -> None:
    clip = sdxl[1]
    escaped = prompt.replace("(", r"\(").replace(")", r"\)")  # ComfyUI's emphasis
    text, pooled = clip.encode_from_tokens(clip.tokenize(escaped), return_pooled=True)
    expected, _, expected_pooled, _ = sdxl_pipe.encode_prompt(prompt, do_classifier_free_guidance=False)
    assert distance(text, expected) < CLOSE
    assert distance(pooled, expected_pooled) < CLOSE


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_of_sd15(sd15: Any, sd15_pipe: Any, prompt: str) -> None:
    clip = sd15[1]
    escaped = prompt.replace("(", r"\(").replace(")", r"\)")
    text = clip.encode_from_tokens(clip.tokenize(escaped))
    expected, _ = sd15_pipe.encode_prompt(prompt, "cpu", 1, False)
    assert distance(text, expected) < CLOSE


def test_words_count_and_unknown_ones_are_all_the_same(sdxl: Any) -> None:
    def encoded(prompt: str) -> Tensor:
        made: Tensor = sdxl[1].encode_from_tokens(sdxl[1].tokenize(prompt))
        return made

    assert distance(encoded("a fox on a red background"), encoded("a fox on a blue background")) > 1e-2
    assert torch.equal(encoded("a zebra on a red background"), encoded("a spoon on a red background"))


@pytest.mark.parametrize("checkpoint", ["sdxl", "sd15"])
def test_image_vae(checkpoint: str, sdxl_pipe: Any, request: pytest.FixtureRequest) -> None:
    vae = request.getfixturevalue(checkpoint)[2]
    latents = sdxl_pipe.vae.encode(scene().movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert distance(vae.encode(scene()), latents) < CLOSE
    picture = sdxl_pipe.vae.decode(latents).sample.movedim(1, -1)
    assert distance(vae.decode(latents), (picture / 2 + 0.5).clamp(0, 1)) < CLOSE
    assert distance(vae.decode(latents), scene()) < 0.2  # the disc's edge and the corners are not like their pictures


def test_video_vae(svd: Any, svd_pipe: Any) -> None:
    vae = svd[2]
    latents = svd_pipe.vae.encode(scene().movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert distance(vae.encode(scene()), latents) < CLOSE
    clip = latents + 0.3 * latents.std() * noise(FRAMES, 4, 16, 16)
    frames = (svd_pipe.vae.decode(clip, num_frames=FRAMES).sample.movedim(1, -1) / 2 + 0.5).clamp(0, 1)
    assert distance(vae.decode(clip), frames) < CLOSE
    alone = torch.cat([vae.decode(clip[i : i + 1]) for i in range(FRAMES)])
    assert distance(alone, frames) > 1e-3  # its decoder looks at the neighbours


def test_image_encoder_of_svd(svd: Any, svd_pipe: Any) -> None:
    from comfy.clip_vision import clip_preprocess

    picture = scene()
    expected = svd_pipe.image_encoder(clip_preprocess(picture, 224)).image_embeds
    assert distance(svd[1].encode_image(picture).image_embeds, expected) < CLOSE
    assert distance(svd[1].encode_image(1 - picture).image_embeds, expected) > 1e-2
