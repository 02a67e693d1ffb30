"""`skipstep doctor`: what is installed, which device is used, and which backends can run."""

from __future__ import annotations

import platform

from rich.table import Table

from ._console import console

PACKAGES = {
    "torch": "the core",
    "diffusers": "pipelines: pip install 'skipstep[diffusers]'",
    "transformers": "text encoders: pip install 'skipstep[diffusers]'",
    "accelerate": "offloading: pip install 'skipstep[diffusers]'",
    "safetensors": "weights: pip install 'skipstep[diffusers]'",
    "scikit-image": "PSNR and SSIM: pip install 'skipstep[cli]'",
    "jinja2": "quality reports: pip install 'skipstep[cli]'",
    "matplotlib": "the plot of a plan: pip install 'skipstep[plot]'",
    "openvino": "the OpenVINO backend: pip install 'skipstep[openvino]'",
    "onediff": "the OneDiff backend: pip install onediff onediffx",
    "peft": "LoRA: pip install 'skipstep[lora]'",
    "xllamacpp": "language models for prompts: pip install 'skipstep[prompt]'",
}


def doctor() -> None:
    """Show what is installed, which device is used, and which backends can run and why not."""
    from .. import __version__
    from ..compile import available_backends
    from ..engine.environment import installed_version
    from ..engine.lpips import lpips_unavailable

    console.print(f"skipstep {__version__}, Python {platform.python_version()}, {platform.platform()}")
    table = Table(box=None, pad_edge=False)
    for heading in ("package", "version", "for"):
        table.add_column(heading)
    for name, purpose in PACKAGES.items():
        table.add_row(name, installed_version(name) or "missing", purpose)
    console.print(table)
    for line in _devices():
        console.print(line)
    console.print(f"lpips: {lpips_unavailable() or 'ready'}")
    for name, available in available_backends().items():
        console.print(f"backend {name}: {available}")


def _devices() -> list[str]:
    import torch

    from ..engine.models import choose_device

    lines = [
        f"device: {choose_device('auto')} (what --device auto means here)",
        f"cpu: {torch.get_num_threads()} threads",
    ]
    if not torch.cuda.is_available():
        why = "this torch was built without it" if torch.version.cuda is None else "no usable GPU or driver"
        return [*lines, f"cuda: no, {why}"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(
            f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    return lines
