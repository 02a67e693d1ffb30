"""LoRA files of other tools on the demo model: the same picture whatever the names, and refusals before loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from skipstep.engine import ImageEngine, ImageRequest, load_model
from skipstep.engine.unet_loras import check_lora, parsed_lora, put_on
from skipstep.errors import OptionError

pytestmark = [
    pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
ALPHA = 1.0


@pytest.fixture(scope="module")
def engine() -> ImageEngine:
    return ImageEngine(load_model("demo"))


@pytest.fixture
def matrices(engine: ImageEngine) -> dict[str, tuple[Tensor, Tensor]]:
    """Matrices of rank 2 for each linear layer of attention in the UNet, by its name."""
    generator = torch.Generator().manual_seed(0)
    layers = [(name, layer) for name, layer in engine.model.pipe.unet.named_modules() if name.endswith(ATTENTION)]
    return {
        name: (
            torch.randn(2, layer.in_features, generator=generator) * 0.3,
            torch.randn(layer.out_features, 2, generator=generator) * 0.3,
        )
        for name, layer in layers
    }


def diffusers_file(matrices: dict[str, tuple[Tensor, Tensor]], path: Path) -> Path:
    tensors = {}
    for name, (down, up) in matrices.items():
        tensors[f"unet.{name}.lora_A.weight"] = down
        tensors[f"unet.{name}.lora_B.weight"] = up * ALPHA / 2
    save_file(tensors, path)
    return path


def kohya_file(matrices: dict[str, tuple[Tensor, Tensor]], path: Path) -> Path:
    tensors = {}
    for name, (down, up) in matrices.items():
        flat = "lora_unet_" + name.replace(".", "_")
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        tensors[f"{flat}.alpha"] = torch.tensor(ALPHA)
    save_file(tensors, path)
    return path


def drawn(engine: ImageEngine, *loras: tuple[Path, float]) -> Any:
    """A small picture with these LoRAs, which are off the model afterwards."""
    put_on(engine.model.pipe, loras)
    try:
        request = ImageRequest(prompt="a fox on a blue background", width=64, height=64, steps=4, seed=5)
        return np.asarray(engine.generate(request).image, np.int16)
    finally:
        engine.model.pipe.unload_lora_weights()


def test_files_of_both_tools_draw_the_same(
    engine: ImageEngine, matrices: dict[str, tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    ours, kohyas = (
        diffusers_file(matrices, tmp_path / "d.safetensors"),
        kohya_file(matrices, tmp_path / "k.safetensors"),
    )
    assert [check_lora(file).layout for file in (ours, kohyas)] == ["diffusers", "kohya"]
    plain, one, other = drawn(engine), drawn(engine, (ours, 0.7)), drawn(engine, (kohyas, 0.7))
    assert np.abs(one - plain).max() > 20
    assert np.abs(one - other).max() <= 1
    assert np.array_equal(drawn(engine), plain)
    (tmp_path / "link.safetensors").symlink_to(kohyas)
    assert np.array_equal(drawn(engine, (tmp_path / "link.safetensors", 0.7)), other)
    assert np.abs(drawn(engine, (ours, 0.7), (kohyas, -0.7)) - plain).max() <= 1


def _nan(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    name = next(name for name in tensors if name.endswith("lora_up.weight"))
    return {**tensors, name: tensors[name] * float("nan")}


def _half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if "mid_block" not in name or "lora_up" not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, "has a value that is NaN"),
        (_half, "has no up matrix"),
        (lambda tensors: {**tensors, "emb_params": torch.ones(2)}, "tensor 'emb_params': is of no LoRA that is known"),
        (
            lambda tensors: {name: tensor[:0] if "lora_down" in name else tensor for name, tensor in tensors.items()},
            "do not fit together",
        ),
        (
            lambda tensors: {name.replace("up_blocks_0", "up_blocks_7"): tensor for name, tensor in tensors.items()},
            "of this model: it is for 136 modules, of which 88 are there",
        ),
    ],
    ids=["NaN", "half", "an embedding", "rank 0", "another model"],
)
def test_a_file_that_is_not_right_is_not_on_the_model(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    message: str,
    engine: ImageEngine,
    matrices: dict[str, tuple[Tensor, Tensor]],
    tmp_path: Path,
) -> None:
    right = kohya_file(matrices, tmp_path / "right.safetensors")
    save_file(change(load_file(right)), tmp_path / "wrong.safetensors")
    plain = drawn(engine)
    with pytest.raises(OptionError, match=f"^cannot use .*wrong.safetensors as a LoRA.*{message}"):
        put_on(engine.model.pipe, [(right, 1.0), (tmp_path / "wrong.safetensors", 1.0)])
    assert np.array_equal(drawn(engine), plain)


def test_scales_are_read_from_the_end() -> None:
    assert parsed_lora("a/b@2.safetensors@-0.5") == (Path("a/b@2.safetensors"), -0.5)
    assert parsed_lora("x@2.safetensors") == (Path("x@2.safetensors"), 1.0)
    for text in ("x@nan", "x@-11", "x@", "x@much"):
        with pytest.raises(OptionError, match=f"with a scale of -10..10, got '{text}'"):
            parsed_lora(text)


def test_other_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(OptionError, match=r"x.ckpt: is neither a folder nor a .safetensors file; pickles are refused"):
        check_lora(tmp_path / "x.ckpt")
    with pytest.raises(OptionError, match="is a folder; name the .safetensors file"):
        check_lora(tmp_path)
    with pytest.raises(OptionError, match="there is no adapter at"):
        check_lora(tmp_path / "missing.safetensors")
