from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_model.single_file import write_single_file
from safetensors.torch import save_file
from saved import tiny_sdxl

from skipstep.engine import load_model
from skipstep.errors import ModelLoadError, OptionError, UnsupportedModelError


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SDXL as a diffusers folder."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_sdxl().save_pretrained(path)
    return path


def _latents(pipe: Any) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(0)
    latents: torch.Tensor = pipe("a cat", num_inference_steps=2, generator=seed, output_type="latent").images
    return latents


def _assert_same(loaded: Any, pipe: Any) -> None:
    """All weights are equal, and the latents up to rounding: weights read from a file lie differently in memory."""
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        ours, theirs = getattr(loaded, name).state_dict(), getattr(pipe, name).state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    expected = _latents(pipe)
    assert expected.std() > 1
    torch.testing.assert_close(_latents(loaded), expected, rtol=1e-4, atol=1e-3)


def test_a_folder_loads_as_it_was_saved(folder: Path) -> None:
    model = load_model(str(folder))
    assert (model.name, model.family, model.size, model.is_demo) == ("tiny", "sdxl", (64, 64), False)
    _assert_same(model.pipe, tiny_sdxl())


def test_a_single_file_is_the_folder(folder: Path, tmp_path: Path) -> None:
    pipe = tiny_sdxl()
    file = tmp_path / "tiny.safetensors"
    write_single_file(pipe, file)
    _assert_same(load_model(str(file), config=folder).pipe, pipe)


@pytest.mark.parametrize(("name", "content"), [("a.ckpt", b"x"), ("a.pt", b"x"), ("a.safetensors", b"PK\x03\x04...")])
def test_pickles_are_refused_by_name_and_by_content(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match="is a pickle, which can run any program"):
        load_model(str(tmp_path / name))


def test_a_folder_of_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(OptionError, match=r"diffusion_pytorch_model\.bin is a pickle"):
        load_model(str(copy))


def test_a_truncated_file_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match=r"vae/diffusion_pytorch_model\.safetensors is not a whole safetensors"):
        load_model(str(copy))


def test_missing_parts_are_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "unet")
    with pytest.raises(ModelLoadError, match="lacks the folder unet that its model_index.json names"):
        load_model(str(copy))


@pytest.mark.parametrize("text", ["{", "[]x", "[1, 2]"])
def test_a_broken_index_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(ModelLoadError, match=r"model_index\.json is not a whole model index"):
        load_model(str(tmp_path))


def test_a_folder_of_half_precision_loads(tmp_path: Path) -> None:
    pipe = tiny_sdxl().to(torch.float16)
    pipe.save_pretrained(tmp_path / "half", variant="fp16")
    loaded = load_model(str(tmp_path / "half")).pipe
    assert loaded.unet.dtype == torch.float32
    assert torch.equal(loaded.unet.conv_in.weight.half(), pipe.unet.conv_in.weight)


def test_a_file_that_lacks_parts_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "part.safetensors"
    save_file({"model.diffusion_model.out.0.weight": torch.ones(3)}, file)
    with pytest.raises(ModelLoadError, match=r"cannot load .*part\.safetensors: "):
        load_model(str(file), config=folder)


def test_a_configuration_is_for_files_only(folder: Path) -> None:
    with pytest.raises(OptionError, match="config is for a single file, and the model is 'demo'; leave it out"):
        load_model(config=folder)


def test_other_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match="no model at .*nowhere; give demo, demo-sd15 or demo-svd, a diffusers folder"
    ):
        load_model(str(tmp_path / "nowhere"))
    with pytest.raises(ModelLoadError, match=r"has no model_index\.json"):
        load_model(str(tmp_path))


def test_other_pipelines_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"))
    with pytest.raises(UnsupportedModelError, match="is a StableDiffusionXLImg2ImgPipeline; this command runs"):
        load_model(str(copy))


def test_devices_and_types_that_are_not_there() -> None:
    with pytest.raises(OptionError, match="device must be auto, cpu or one that torch can use here, got 'abacus'"):
        load_model(device="abacus")
    with pytest.raises(OptionError, match="one that torch can use here, got 'meta'"):
        load_model(device="meta")
    with pytest.raises(OptionError, match="dtype must be one of auto, float32, float16, bfloat16, got 'int8'"):
        load_model(dtype="int8")
    assert load_model(dtype="bfloat16").pipe.unet.dtype == torch.bfloat16
