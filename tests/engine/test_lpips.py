"""LPIPS with a stand-in for its package: the real one brings torchvision and 244 MB of weights."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipstep.engine import lpips
from skipstep.errors import MissingExtraError

PACKAGE = '''
import torch
class Backbone(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slice1 = torch.nn.Sequential()
        self.slice1.add_module("0", torch.nn.Conv2d(3, 4, 3))
        self.slice2 = torch.nn.Sequential()
        self.slice2.add_module("3", torch.nn.Conv2d(4, 2, 3))
class LPIPS(torch.nn.Module):
    """Named as lpips 0.1.4 names its parts, with two layers in place of five."""
    def __init__(self, *, net, version, pnet_rand, verbose):
        super().__init__()
        assert (net, version, verbose) == ("alex", "0.1", False)
        assert pnet_rand, "would download the backbone"
        self.net = Backbone()
    def forward(self, one, other):
        assert one.min() >= -1 and one.max() <= 1 and one.shape[:2] == (1, 3)
        layers = torch.nn.Sequential(self.net.slice1, self.net.slice2)
        return (layers(one) - layers(other)).square().mean(dim=(1, 2, 3), keepdim=True)
'''


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The packages are here, and so is torch.hub's folder, empty."""
    packages, folder = tmp_path / "packages", tmp_path / "home" / "hub" / "checkpoints"
    packages.mkdir()
    folder.mkdir(parents=True)
    (packages / "lpips.py").write_text(PACKAGE)
    (packages / "torchvision.py").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(packages)
    monkeypatch.delitem(sys.modules, "lpips", raising=False)
    yield folder
    sys.modules.pop("lpips", None)


@pytest.fixture
def backbone(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A checkpoint with torchvision's names and a digest in its name."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        "features.0.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "features.0.bias": torch.randn(4, generator=generator),
        "features.3.weight": torch.randn(2, 4, 3, 3, generator=generator),
        "features.3.bias": torch.randn(2, generator=generator),
        "classifier.1.weight": torch.zeros(1),
    }
    torch.save(weights, checkpoints / "new")
    digest = hashlib.sha256((checkpoints / "new").read_bytes()).hexdigest()
    monkeypatch.setattr(lpips, "BACKBONE", f"alexnet-owt-{digest[:8]}.pth")
    (checkpoints / "new").rename(checkpoints / lpips.BACKBONE)
    return weights


def _picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 24, 3), np.uint8))


def test_the_backbone_is_the_one_in_the_checkpoint_folder(backbone: dict[str, torch.Tensor]) -> None:
    assert lpips.lpips_unavailable() is None
    distance = lpips.load_lpips()
    found = distance(_picture(0), _picture(1))
    one, other = (
        torch.from_numpy(np.asarray(_picture(seed), np.float32) / 127.5 - 1).permute(2, 0, 1)[None] for seed in (0, 1)
    )

    def features(pixels: torch.Tensor) -> torch.Tensor:
        first = torch.nn.functional.conv2d(pixels, backbone["features.0.weight"], backbone["features.0.bias"])
        return torch.nn.functional.conv2d(first, backbone["features.3.weight"], backbone["features.3.bias"])

    assert found == pytest.approx((features(one) - features(other)).square().mean().item(), rel=1e-5)
    assert found > 0.1
    assert distance(_picture(0), _picture(0)) == 0


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="^LPIPS needs lpips and torchvision: pip install lpips torchvision$"):
        lpips.load_lpips()


def test_missing_weights_are_not_downloaded(checkpoints: Path, tmp_path: Path) -> None:
    reason = lpips.lpips_unavailable()
    assert reason is not None
    assert "alexnet-owt-7be5be79.pth, in torch.hub's checkpoint folder" in reason
    assert str(tmp_path) not in reason  # it goes into reports
    assert not list(checkpoints.iterdir())


@pytest.mark.usefixtures("backbone")
def test_damaged_weights_are_refused(checkpoints: Path) -> None:
    file = checkpoints / lpips.BACKBONE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(MissingExtraError, match="is damaged; fetch it again"):
        lpips.load_lpips()


@pytest.mark.usefixtures("backbone")
def test_a_torchvision_for_another_torch_is_named(tmp_path: Path) -> None:
    (tmp_path / "packages" / "lpips.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    with pytest.raises(MissingExtraError, match=r"fits the installed torch \(RuntimeError\): pip install --upgrade"):
        lpips.load_lpips()
