from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_model.single_file import write_single_file
from models import randomised
from PIL import Image
from safetensors.torch import load_file, save_file
from saved import tiny_sdxl
from saved_svd import SCHEDULER, svd_outputs, svd_unet, svd_vae, svd_vision, tiny_svd

from skipstep.engine.svd_layout import PICTURE_VAE, UNET, VAE, VISION, to_original
from skipstep.engine.svd_single_file import is_svd_file, load_svd_single_file
from skipstep.errors import ModelLoadError, OptionError, UnsupportedModelError

PARTS = ("unet", "vae", "image_encoder")


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SVD in one file, with a text encoder's leftover as the published ones have; not to be changed."""
    path = tmp_path_factory.mktemp("svd") / "svd.safetensors"
    leftover = {"conditioner.embedders.0.open_clip.model.token_embedding.weight": torch.ones(3)}
    save_file(to_original(tiny_svd().components) | leftover, path)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its configurations as a diffusers folder, without weights; not to be changed."""
    path = tmp_path_factory.mktemp("svd") / "folder"
    tiny_svd().save_pretrained(path)
    for weights in path.rglob("*.safetensors"):
        weights.unlink()
    return path


def _load(path: Path, config: Path | None = None, dtype: torch.dtype = torch.float32) -> Any:
    return load_svd_single_file(path, config=config, dtype=dtype)


def _assert_equal_outputs(ours: Any, theirs: Any) -> None:
    found, expected = svd_outputs(ours.components), svd_outputs(theirs.components)
    for name, output in expected.items():
        assert output.std() > 0.1, name
        assert torch.equal(found[name], output), name


def _changed(file: Path, target: Path, drop: str = "", **more: torch.Tensor) -> Path:
    """A copy of the file without the names that begin with `drop`, and with `more`."""
    weights = load_file(file)
    kept = {name: value for name, value in weights.items() if not drop or not name.startswith(drop)}
    save_file({**kept, **more}, target)
    return target


def test_a_file_is_the_pipeline_that_it_was_written_from(file: Path) -> None:
    source = tiny_svd()
    loaded = _load(file)
    assert type(loaded) is type(source)
    _assert_equal_outputs(loaded, source)
    for name in ("unet", "vae", "scheduler"):
        ours, theirs = dict(getattr(loaded, name).config), dict(getattr(source, name).config)
        plain = json.loads(json.dumps(theirs))
        assert {key: ours[key] for key in plain if not key.startswith("_")} == {
            key: value for key, value in plain.items() if not key.startswith("_")
        }
    assert loaded.image_encoder.config.to_dict() == source.image_encoder.config.to_dict()
    assert loaded.vae.config.scaling_factor == 0.18215
    assert loaded.vae.config.force_upcast
    assert {key: loaded.scheduler.config[key] for key in SCHEDULER} == SCHEDULER


def test_a_clip_is_the_same_to_the_bit(file: Path) -> None:
    picture = Image.effect_mandelbrot((16, 16), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    clips = []
    for pipe in (tiny_svd(), _load(file)):
        pipe.set_progress_bar_config(disable=True)
        seed = torch.Generator().manual_seed(0)
        sizes = {"width": 16, "height": 16, "num_frames": 3, "num_inference_steps": 2}
        clips.append(pipe(picture, **sizes, generator=seed, output_type="pt").frames)
    assert clips[0].std() > 0.01
    assert torch.equal(*clips)


def test_the_file_may_go_once_it_is_loaded(file: Path, tmp_path: Path) -> None:
    copy = shutil.copy(file, tmp_path / "copy.safetensors")
    loaded = _load(copy)
    copy.write_bytes(b"\0" * copy.stat().st_size)  # in place, where a mapped file would change
    copy.unlink()
    _assert_equal_outputs(loaded, tiny_svd())


def test_a_type_is_that_of_all_weights(file: Path) -> None:
    loaded = _load(file, dtype=torch.bfloat16)
    for name in PARTS:
        expected = getattr(tiny_svd(), name).state_dict()
        for key, value in getattr(loaded, name).state_dict().items():
            assert torch.equal(value, expected[key].to(torch.bfloat16)), key
    assert loaded.image_encoder.vision_model.embeddings.position_ids.tolist() == [list(range(17))]


def test_modules_are_ready_for_inference(file: Path) -> None:
    loaded = _load(file)
    for name in PARTS:
        part = getattr(loaded, name)
        assert not part.training
        assert not any(parameter.requires_grad or parameter.is_meta for parameter in part.parameters())


def test_pictures_are_prepared_as_the_published_model_does(file: Path) -> None:
    picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    given = {"do_center_crop": False, "do_resize": False, "do_rescale": False, "return_tensors": "pt"}
    prepared = _load(file).feature_extractor(images=picture, do_normalize=True, **given).pixel_values
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = (picture - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    torch.testing.assert_close(prepared, expected)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("svd", 14),
        ("svd_xt", 25),
        ("svd_xt_1_1", 25),
        ("SVD-XT.fp16", 25),
        ("svdxt", 25),
        ("next_svd", 14),
        ("text", 14),
    ],
)
def test_the_name_tells_the_frames(file: Path, tmp_path: Path, name: str, frames: int) -> None:
    path = tmp_path / f"{name}.safetensors"
    path.symlink_to(file)
    assert _load(path).unet.config.num_frames == frames


@pytest.mark.parametrize("layers", [1, 2])
def test_sizes_are_those_of_the_weights(tmp_path: Path, layers: int) -> None:
    widths = (64, 128, 192)
    parts = {"unet": svd_unet(widths, layers=layers, depth=2), "vae": svd_vae((32, 64, 32), layers=layers)}
    parts = {name: randomised(part) for name, part in {**parts, "image_encoder": svd_vision()}.items()}
    path = tmp_path / "svd.safetensors"
    save_file(to_original(parts), path)
    loaded = _load(path)
    assert loaded.unet.config.num_attention_heads == [1, 2, 3]
    assert loaded.unet.config.block_out_channels == list(widths)
    assert loaded.unet.config.layers_per_block == loaded.vae.config.layers_per_block == layers
    assert loaded.unet.config.transformer_layers_per_block == 2
    assert loaded.image_encoder.config.num_attention_heads == 2
    found, expected = svd_outputs(loaded.components), svd_outputs(parts)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_folder_tells_the_heads_that_shapes_do_not(tmp_path: Path) -> None:
    pipe = tiny_svd()
    pipe.register_modules(
        unet=randomised(svd_unet((32, 64), head=32)), image_encoder=randomised(svd_vision(head=32)), vae=pipe.vae
    )
    path, folder = tmp_path / "svd.safetensors", tmp_path / "folder"
    save_file(to_original(pipe.components), path)
    with pytest.raises(
        OptionError, match="heads of the UNet: .* 64 channels each, which does not divide 32; give --config"
    ):
        _load(path)
    pipe.unet.register_to_config(num_frames=7)
    pipe.save_pretrained(folder)
    loaded = _load(path, folder)
    assert loaded.unet.config.num_frames == 7
    _assert_equal_outputs(loaded, pipe)


def test_heads_of_the_image_encoder_need_a_folder_too(tmp_path: Path) -> None:
    path = tmp_path / "svd.safetensors"
    save_file(to_original({**tiny_svd().components, "image_encoder": svd_vision(head=32)}), path)
    with pytest.raises(OptionError, match="heads of the image encoder: .* 80 channels each, which does not divide 64"):
        _load(path)


def test_a_folder_needs_no_weights(file: Path, folder: Path) -> None:
    _assert_equal_outputs(_load(file, folder), tiny_svd())


def test_folders_that_are_of_no_use_are_refused(file: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no model_index\.json in .*nowhere"):
        _load(file, tmp_path / "nowhere")
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "vae" / "config.json").write_text("{")
    with pytest.raises(OptionError, match=r"no vae/config\.json in .*copy: Expecting"):
        _load(file, copy)
    (copy / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    with pytest.raises(
        OptionError, match="of a StableVideoDiffusionPipeline, and .*copy is of a StableDiffusionXLPipeline"
    ):
        _load(file, copy)


def test_a_folder_of_another_size_is_refused(file: Path, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "unet" / "config.json").read_text())
    (copy / "unet" / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 32}))
    with pytest.raises(
        ModelLoadError, match=r"wrong shapes: model\.diffusion_model\..* is \(64, 24\) and must be \(64, 32\)"
    ):
        _load(file, copy)
    (copy / "unet" / "config.json").write_text(json.dumps({**config, "block_out_channels": [60, 64]}))
    with pytest.raises(ModelLoadError, match="no SVD can have these sizes: "):
        _load(file, copy)


@pytest.mark.parametrize("name", ["svd.ckpt", "svd.safetensors"])
def test_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    torch.save({"model.diffusion_model.out.0.weight": torch.ones(1)}, tmp_path / name)
    assert not is_svd_file(tmp_path / name)
    with pytest.raises(OptionError, match="is a pickle, which can run any program"):
        _load(tmp_path / name)


def test_half_a_file_is_refused(file: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    half.write_bytes(file.read_bytes()[:-100])
    assert not is_svd_file(half)
    with pytest.raises(
        ModelLoadError, match=r"half\.safetensors is not a whole safetensors file .*; download it again"
    ):
        _load(half)
    assert not is_svd_file(tmp_path / "nowhere")
    with pytest.raises(ModelLoadError, match="nowhere is not a whole safetensors file"):
        _load(tmp_path / "nowhere")


def test_other_models_are_named(tmp_path: Path) -> None:
    sdxl = tmp_path / "sdxl.safetensors"
    write_single_file(tiny_sdxl(), sdxl)
    assert not is_svd_file(sdxl)
    with pytest.raises(
        UnsupportedModelError, match=r"sdxl\.safetensors is not Stable Video Diffusion: it looks like SDXL"
    ):
        _load(sdxl)
    for name, looks in (
        ("cond_stage_model.transformer.x", "it looks like Stable Diffusion 1"),
        ("model.diffusion_model.x", "it looks like another diffusion model"),
        ("down_blocks.0.x", "it looks like a part of a diffusers folder"),
        ("lora_unet_x", "it looks like a LoRA"),
        ("x", "it begins with x"),
    ):
        other = tmp_path / "other.safetensors"
        save_file({name: torch.ones(1)}, other)
        with pytest.raises(UnsupportedModelError, match=looks):
            _load(other)


def test_relatives_of_svd_are_named(file: Path, tmp_path: Path) -> None:
    sv3d = _changed(file, tmp_path / "sv3d.safetensors", **{f"{UNET}label_emb.0.0.weight": torch.ones(256, 1280)})
    assert is_svd_file(sv3d)
    with pytest.raises(UnsupportedModelError, match="in 768 channels: this one has 1280, like SV3D"):
        _load(sv3d)
    weights = {name: value for name, value in load_file(file).items() if not _is_temporal(name)}
    save_file(weights, tmp_path / "frames.safetensors")
    with pytest.raises(UnsupportedModelError, match="has the decoder of single frames"):
        _load(tmp_path / "frames.safetensors")


def _is_temporal(name: str) -> bool:
    return name.startswith(VAE) and ("time_" in name or "mix_factor" in name)


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (
            f"{UNET}middle_block.0.in_layers",
            r"it lacks model\.diffusion_model\.middle_block\.0\.in_layers\.0\.weight, ",
        ),
        (f"{UNET}output_blocks", r"it lacks model\.diffusion_model\.output_blocks\.0\..* and \d+ more"),
        (f"{UNET}label_emb", r"'model\.diffusion_model\.label_emb\.0\.0\.weight' is missing"),
        (f"{VAE}decoder", r"'first_stage_model\.decoder\.conv_out\.weight' is missing"),
        (f"{PICTURE_VAE}quant_conv", r"it lacks conditioner\.embedders\.3\.encoder\.quant_conv\.weight"),
        (VISION, r"'conditioner\.embedders\.0\.open_clip\.model\.visual\.ln_pre\.weight' is missing"),
        (f"{VISION}transformer.resblocks.1.attn.in_proj", r"it lacks .*resblocks\.1\.attn\.in_proj_weight, "),
    ],
)
def test_missing_weights_are_named(file: Path, tmp_path: Path, drop: str, message: str) -> None:
    with pytest.raises(ModelLoadError, match=f"cannot load .*part.safetensors: {message}"):
        _load(_changed(file, tmp_path / "part.safetensors", drop))


def test_a_file_without_the_encoder_for_pictures_loads(file: Path, tmp_path: Path) -> None:
    loaded = _load(_changed(file, tmp_path / "saved.safetensors", PICTURE_VAE))
    found, expected = svd_outputs(loaded.components), svd_outputs(tiny_svd().components)
    torch.testing.assert_close(found["encoder"], expected["encoder"], rtol=1e-5, atol=1e-5)  # merged: rounded once more
    assert torch.equal(found["unet"], expected["unet"])


def test_more_weights_than_svd_has_are_named(file: Path, tmp_path: Path) -> None:
    more = _changed(file, tmp_path / "more.safetensors", **{f"{UNET}adapter.weight": torch.ones(1)})
    with pytest.raises(ModelLoadError, match=r"it has what SVD has not: model\.diffusion_model\.adapter\.weight"):
        _load(more)


def test_shapes_that_do_not_fit_are_named(file: Path, tmp_path: Path) -> None:
    name = f"{UNET}middle_block.0.out_layers.3.weight"
    with pytest.raises(
        ModelLoadError, match=r"wrong shapes: .*out_layers\.3\.weight is \(2, 3\) and must be \(64, 64, 3, 3\)"
    ):
        _load(_changed(file, tmp_path / "bent.safetensors", **{name: torch.ones(2, 3)}))
    with pytest.raises(ModelLoadError, match="is missing or has another shape than SVD's"):
        _load(_changed(file, tmp_path / "flat.safetensors", **{f"{UNET}input_blocks.0.0.weight": torch.ones(2)}))


def test_quantised_weights_are_refused(file: Path, tmp_path: Path) -> None:
    weights = load_file(file)
    name = f"{UNET}out.2.weight"
    whole = _changed(file, tmp_path / "int8.safetensors", **{name: weights[name].to(torch.int8)})
    with pytest.raises(ModelLoadError, match=r"out\.2\.weight is of torch\.int8; give a file of floats"):
        _load(whole)


def test_a_file_is_told_by_its_header(file: Path, tmp_path: Path) -> None:
    assert is_svd_file(file)
    assert not is_svd_file(tmp_path)
