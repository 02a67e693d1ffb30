"""torchvision and torchaudio beside a torch without CUDA.

PyPI has both for CUDA only, and their compiled operators do not load without it. ComfyUI imports both packages
at its start but calls Python code of them alone, so the dead libraries go. Then torchaudio says itself that it
has no extension, and torchvision lacks only the declarations of two operators that it names while importing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

DECLARE_OPERATORS = """

# Added by comfy_host: the compiled operators of this wheel need a torch with CUDA. Declare the two that
# _meta_registrations.py names unconditionally, so that the Python part imports.
if not _has_ops():
    _declared = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _declared.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def drop_cuda_parts(packages: Path) -> None:
    """Make freshly installed torchvision and torchaudio in this `site-packages` import without CUDA."""
    for library in (*(packages / "torchaudio" / "lib").glob("*.so"), *(packages / "torchvision").glob("*.so")):
        library.unlink()
    shutil.rmtree(packages / "torchvision.libs", ignore_errors=True)
    with (packages / "torchvision" / "extension.py").open("a") as file:
        file.write(DECLARE_OPERATORS)
