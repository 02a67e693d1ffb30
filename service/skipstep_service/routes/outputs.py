"""/v1/jobs/{id}/outputs/{name}: the files."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from ..errors import NotFoundError
from ..keys import Owner
from .jobs import JobId, service_of
from .refusals import refusals

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=refusals(401, 403, 404, 422, 503))
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
FileName = Annotated[str, Path(max_length=64, description="The `name` of an output.")]


@router.get(
    "/{job_id}/outputs/{name}",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}, "video/*": {}}},
        206: {"description": "The range of bytes that was asked for."},
        416: {"description": "There are no such bytes."},
    },
)
def get_output(
    request: Request,
    job_id: JobId,
    name: FileName,
    owner: Owner,
    range: Annotated[str | None, Header(description="One range, as bytes=0-1023.")] = None,  # noqa: A002
) -> Response:
    """A file that the job made, or a range of its bytes."""
    service = service_of(request)
    row = service.get(job_id, owner=owner)
    listed = {one["name"]: one for one in (row.result or {}).get("outputs", ())}
    output = listed.get(name)
    size = None if output is None else service.results.size(job_id, name)
    if output is None or size is None:
        raise NotFoundError("the job has no such output")
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, immutable, max-age=3600",
        "ETag": f'"{job_id}-{name}"',
    }
    asked = parse_range(range, size)
    if asked == UNSATISFIABLE:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, end = asked or (0, size)
    if asked is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    body = service.results.read(job_id, name, start=start, end=end)
    return StreamingResponse(
        body, status_code=200 if asked is None else 206, headers=headers, media_type=output["media_type"]
    )


UNSATISFIABLE = (0, 0)


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of the single range that is asked for (RFC 9110, 14.1.2); None for the whole file."""
    match = _RANGE.fullmatch(text.strip()) if text else None
    if match is None or match.groups() == ("", ""):
        return None  # of another unit, of several ranges or none: the whole may be sent
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None
    return (start, end) if start < end else UNSATISFIABLE
