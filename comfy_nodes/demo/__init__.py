"""The demo models as ComfyUI has its own: diffusers' weights under ComfyUI's names, in ComfyUI's classes."""

from __future__ import annotations

from .image import IMAGE_MODELS, DemoCheckpoint, load_demo_checkpoint
from .video import DemoVideoCheckpoint, load_demo_video_checkpoint

__all__ = [
    "IMAGE_MODELS",
    "DemoCheckpoint",
    "DemoVideoCheckpoint",
    "load_demo_checkpoint",
    "load_demo_video_checkpoint",
]
