"""LPIPS (Zhang et al. 2018, arXiv:1801.03924) where its packages and weights are at hand; nothing is downloaded.

The PyPI package `lpips` carries its linear heads. The AlexNet under them is torchvision's, and is taken from the
checkpoint folder of `torch.hub` if it lies there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MissingExtraError
from ..hashes import file_sha256

BACKBONE = "alexnet-owt-7be5be79.pth"  # torchvision's AlexNet_Weights.IMAGENET1K_V1; the digits start its SHA-256
PACKAGES = ("lpips", "torchvision")

Distance = Callable[[Image.Image, Image.Image], float]


def lpips_unavailable() -> str | None:
    """Why LPIPS cannot be measured here and what to do, in words; None where it can."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        return f"LPIPS needs {' and '.join(missing)}: pip install {' '.join(missing)}"
    checkpoint = _checkpoint()
    if not checkpoint.is_file():
        return (
            f"LPIPS needs AlexNet's weights, {BACKBONE}, in torch.hub's checkpoint folder, and skipstep downloads "
            "nothing; torchvision.models.alexnet(weights='IMAGENET1K_V1') fetches them once"
        )
    if not file_sha256(checkpoint).startswith(Path(BACKBONE).stem.rpartition("-")[2]):
        return f"LPIPS needs AlexNet's weights, and the {BACKBONE} that is here is damaged; fetch it again"
    return None


def load_lpips() -> Distance:
    """A function of two RGB pictures of one size that gives their LPIPS distance (v0.1, AlexNet), 0 for equal ones.

    Raises:
        MissingExtraError: if the packages or the weights are not here; the message is that of `lpips_unavailable`.
    """
    reason = lpips_unavailable()
    if reason is not None:
        raise MissingExtraError(reason)
    model = _model()

    @torch.no_grad()
    def distance(reference: Image.Image, image: Image.Image) -> float:
        return float(model(_to_tensor(reference), _to_tensor(image)).item())

    return distance


def _model() -> Any:
    try:
        package = import_module("lpips")
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises RuntimeError
        raise MissingExtraError(
            f"LPIPS needs a torchvision that fits the installed torch ({type(error).__name__}): "
            "pip install --upgrade lpips torchvision"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lpips 0.1.4 uses torchvision's old spelling of "no weights"
        model = package.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    # with pnet_rand=False the package would download the backbone where it is missing
    weights = torch.load(_checkpoint(), map_location="cpu", weights_only=True)
    model.net.load_state_dict({name: weights[_in_alexnet(name)] for name in model.net.state_dict()})
    return model.eval().requires_grad_(False)


def _in_alexnet(name: str) -> str:
    """The name in torchvision's AlexNet of a tensor that `lpips` calls slice2.3.weight."""
    return f"features.{name.partition('.')[2]}"


def _checkpoint() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE


def _to_tensor(image: Image.Image) -> Tensor:
    """(1, 3, height, width) from -1 to 1."""
    pixels = np.asarray(image.convert("RGB"), np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]
