"""The models that clients may name, and how much of them a job may ask for."""

from __future__ import annotations

from skipstep.engine.models import VIDEO_SIZE
from skipstep.errors import OptionError

from .jobs.bodies import ImageJob, VideoJob
from .settings import Settings

VIDEO = "svd"
_USUAL_SIZE, _USUAL_FRAMES = (1024, 1024), 25  # counted where a job names none


def pixel_steps(kind: str, width: int | None, height: int | None, count: int | None, *, steps: int) -> float:
    """How much work pictures, or the frames of a clip, are; None is what is usual for the kind."""
    usual = VIDEO_SIZE if kind == "video" else _USUAL_SIZE
    return float(width or usual[0]) * (height or usual[1]) * (count or _USUAL_FRAMES) * steps


class Catalog:
    """Names from the settings; which of them make video is learned when they load."""

    def __init__(self, settings: Settings, families: dict[str, str]) -> None:
        self._settings = settings
        self._families = families

    @property
    def families(self) -> dict[str, str]:
        """Of each model: "sdxl", "sd15" or "svd"."""
        return dict(self._families)

    def names(self, kind: str) -> list[str]:
        """The models for jobs of a kind; the first is taken where a job names none."""
        return [name for name, family in self._families.items() if (family == VIDEO) == (kind == "video")]

    def check(self, body: ImageJob | VideoJob) -> str:
        """The model of a job.

        Raises:
            OptionError: if there is none of that name, or for that kind of job, or the job is too large.
        """
        fitting = self.names(body.kind)
        if not fitting:
            raise OptionError(f"this server has no model for {body.kind} jobs")
        name = fitting[0] if body.model is None else body.model
        if name not in fitting:
            raise OptionError(f"model must be one of {', '.join(fitting)} for {body.kind} jobs, got {name!r}")
        self._check_size(body)
        return name

    def _check_size(self, body: ImageJob | VideoJob) -> None:
        count = body.n if isinstance(body, ImageJob) else body.frames
        asked = pixel_steps(body.kind, body.width, body.height, count, steps=body.steps)
        if asked > self._settings.max_pixel_steps:
            raise OptionError(
                f"width x height x {'n' if isinstance(body, ImageJob) else 'frames'} x steps may be "
                f"{self._settings.max_pixel_steps:.3g} here, got {asked:.3g}; ask for less"
            )
