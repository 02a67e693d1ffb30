"""For fuzz.py, in Schemathesis' process: pictures that are pictures, and names of jobs that there are.

Without them, nearly all bodies with a picture and all names of jobs would be refused at the first look.
"""

from __future__ import annotations

import base64
import io
import os
import zlib
from typing import Any

import schemathesis
from PIL import Image

JOBS = "FUZZ_JOBS"  # a variable: names of jobs, with commas
_SHORT = 2000


def _picture() -> str:
    buffer = io.BytesIO()
    Image.effect_noise((48, 40), 60).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PICTURE = _picture()


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    """Texts that were made up for pictures become pictures, and for models none; every fourth stays as it is."""
    if not isinstance(body, dict):
        return body
    changed = dict(body)
    for name in ("image", "input_reference"):
        if _is_made_up(changed.get(name)):
            changed[name] = PICTURE
    pictures = changed.get("init_images")
    if isinstance(pictures, list) and len(pictures) <= 1 and all(_is_made_up(one) for one in pictures):
        changed["init_images"] = [PICTURE]
    if _is_made_up(changed.get("model")):
        del changed["model"]
    return changed


@schemathesis.hook
def map_path_parameters(_: Any, parameters: Any) -> Any:
    """Names that were made up become those of jobs and outputs that there are; every fourth stays as it is."""
    if not isinstance(parameters, dict):
        return parameters
    changed, known = dict(parameters), os.environ.get(JOBS, "").split(",")
    name = changed.get("job_id")
    if _is_made_up(name) and not name.startswith("job_"):
        changed["job_id"] = known[zlib.crc32(name.encode("utf-8", "replace")) % len(known)]
    if _is_made_up(changed.get("name")):
        changed["name"] = "0.png"
    return changed


def _is_made_up(value: Any) -> bool:
    return isinstance(value, str) and len(value) < _SHORT and zlib.crc32(value.encode("utf-8", "replace")) % 4 != 0
