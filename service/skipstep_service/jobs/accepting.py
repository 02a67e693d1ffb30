"""From a body to a row: what a job is asked for with, made definite and checked by skipstep's own request classes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import time
from typing import Any

from PIL import Image

from skipstep.engine.picture import decode_picture
from skipstep.engine.request import new_seed

from ..errors import InvalidRequestError
from ..store.job_store import JobRow
from .bodies import ImageJob, VideoJob
from .ids import new_job_id
from .states import PRIORITIES, QUEUED

PICTURE = "input.png"


def new_row(
    body: ImageJob | VideoJob, *, owner: str, model: str, timeout_s: float, idempotency_key: str | None
) -> tuple[JobRow, dict[str, bytes]]:
    """The row of a new job, and the files that belong to it.

    Raises:
        InvalidRequestError: if the picture is no base64.
        skipstep.errors.OptionError: if it cannot be read.
    """
    asked = body.model_dump(mode="json")
    if asked.get("expand", {}) is None:
        del asked["expand"]  # so that what came before there was one has the same hash
    sha256 = hashlib.sha256(
        json.dumps(asked, sort_keys=True).encode()
    ).hexdigest()  # before anything is drawn at random
    files: dict[str, bytes] = {}
    encoded = asked.pop("image", None)
    if encoded is not None:
        files[PICTURE] = _as_png(encoded)
    if asked["seed"] is None:
        asked["seed"] = new_seed()
    asked["model"] = model
    now = time.time()
    request: dict[str, Any] = {**asked, "files": sorted(files)}
    row = JobRow(
        id=new_job_id(now),
        owner=owner,
        kind=body.kind,
        status=QUEUED,
        priority=PRIORITIES[body.priority],
        request=request,
        result=None,
        error=None,
        attempts=0,
        idempotency_key=idempotency_key,
        request_sha256=sha256,
        created_at=now,
        deadline_at=now + (timeout_s if body.timeout_s is None else body.timeout_s),
        started_at=None,
        finished_at=None,
    )
    return row, files


def _as_png(encoded: str) -> bytes:
    """The picture as a file of ours: what a client sent is decoded once, here."""
    text = encoded.partition(",")[2] if encoded.startswith("data:") else encoded
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("image must be a picture in base64") from error
    picture: Image.Image = decode_picture(data, name="image")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
