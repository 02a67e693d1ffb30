from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstep.engine import ImageEngine, ImageRequest, caches, media
from skipstep.engine.metrics import image_psnr, image_ssim
from skipstep.engine.texts import describe
from skipstep.errors import OptionError, OutputError


def _picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 200, (16, 24, 3), np.uint8)
    return Image.fromarray(pixels)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.png: no space left on the device"):
        media.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_replaces_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    media.write_whole(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    media.write_whole(tmp_path / "link.png", b"new")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes() == b"new"


def test_check_output_leaves_nothing(tmp_path: Path) -> None:
    media.check_output(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing/a.png", OutputError, "no such file or directory"),
        ("a.jpg", OptionError, "must end in .png"),
        ("folder.png", OutputError, "is a folder"),
    ],
)
def test_check_output_refuses(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=message):
        media.check_output(tmp_path / name)


def test_the_png_says_how_it_was_made(
    engine: ImageEngine, request_for: Callable[..., ImageRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "nearest_plan", lambda *_, **__: None)
    made = engine.generate(request_for(negative_prompt="a car", steps=11))
    path = tmp_path / "a.png"
    media.write_whole(path, media.png_bytes(made.image, describe(made, {"more": 1})))
    with Image.open(path) as picture:
        assert image_psnr(picture, made.image) == float("inf")
        texts = picture.text  # type: ignore[attr-defined]
    assert texts["parameters"].splitlines() == [
        "a fox on a blue background",
        "Negative prompt: a car",
        "Steps: 11, Sampler: euler, CFG scale: 3, Seed: 3, Size: 64x64, Model: demo, "
        "skipstep: balanced, skipstep passes: 4 full + 7 reuse",
    ]
    run = json.loads(texts["skipstep"])
    assert run["more"] == 1
    assert run["request"]["seed"] == 3
    assert run["report"]["passes"] == "FrrFrrFrrrF"
    assert run["options"]["interval"] == 3


def test_side_by_side_shows_both_and_the_difference() -> None:
    one = _picture()
    other = one.copy()
    other.putpixel((3, 2), (255, 255, 255))
    sheet = media.side_by_side(one, other, ("a", "b"))
    scale = 16  # 16 pixels to at least 256
    assert sheet.size == (3 * 24 * scale, 16 * scale + media.CAPTION)
    panels = [sheet.crop((i * 24 * scale, media.CAPTION, (i + 1) * 24 * scale, sheet.height)) for i in range(3)]
    assert image_psnr(panels[0].resize((24, 16), Image.Resampling.NEAREST), one) == float("inf")
    assert image_psnr(panels[1].resize((24, 16), Image.Resampling.NEAREST), other) == float("inf")
    difference = np.asarray(panels[2].resize((24, 16), Image.Resampling.NEAREST))[..., 0]
    assert difference[2, 3] == 255
    assert difference.sum() == 255


def test_side_by_side_of_equal_pictures_is_black() -> None:
    sheet = media.side_by_side(_picture(), _picture(), ("a", "b"))
    assert not np.asarray(sheet.crop((2 * sheet.width // 3, media.CAPTION, sheet.width, sheet.height))).any()


def test_metrics_on_a_known_difference() -> None:
    one = Image.new("RGB", (16, 16), (100, 100, 100))
    other = Image.new("RGB", (16, 16), (110, 110, 110))
    assert image_psnr(one, other) == pytest.approx(20 * np.log10(255 / 10))
    assert image_ssim(one, one) == 1
    assert image_ssim(_picture(0), _picture(1)) < 0.5
