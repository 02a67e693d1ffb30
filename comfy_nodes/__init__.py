"""The ComfyUI pack. ComfyUI loads this folder by its path, under `custom_nodes/` or forwarded from the repository."""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The pack's extension, of which ComfyUI asks its nodes."""
    from .extension import SkipstepExtension

    return SkipstepExtension()
