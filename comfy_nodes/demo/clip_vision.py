"""The image encoder of the demo SVD, as ComfyUI's CLIP vision model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from comfy.clip_vision import ClipVisionModel

from .weights import check_names, settings_of, stored_weights


def load_clip_vision() -> Any:
    """A new CLIP vision model."""
    (weights,) = stored_weights("svd", "image_encoder")
    config = {**settings_of("svd")["image_encoder"], "model_type": "clip_vision_model", "num_channels": 3}
    with tempfile.TemporaryDirectory() as folder:  # 0.3.75 reads the sizes from a file only
        path = Path(folder, "clip_vision.json")
        path.write_text(json.dumps(config), encoding="utf-8")
        encoder = ClipVisionModel(str(path))
    encoder.load_sd(weights)
    check_names("image encoder", weights, encoder.model.state_dict())
    return encoder
