"""Where a plan is written, and what must not be replaced there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from skipstep.errors import OptionError, OutputError
from skipstep.plan import Plan, load_plan, plan_bytes
from skipstep.plan.file import holds_slopes
from skipstep.whole import write_whole

from ..folders import NAME, plans_folder

_SUFFIX = ".json"
_LONGEST = 100
_PLAIN = re.compile(r"\w([\w .()+-]*[\w)+-])?")  # no folder, nothing hidden, no end that Windows drops


@dataclass(frozen=True, kw_only=True)
class PlanPlace:
    """The two files of a plan."""

    text: Path
    overwrite: bool

    @property
    def slopes(self) -> Path:
        """The slopes beside it."""
        return self.text.with_suffix(".safetensors")

    def check(self) -> None:
        """Refuse what cannot be written, or is not to be replaced.

        Raises:
            OptionError: if there is a plan of that name and it may not be replaced, or a file that is no plan.
            OutputError: if the folder cannot be written to.
        """
        if _exists(self.text) and not _is_plan(self.text):
            raise OptionError(_foreign(self.text))
        if _exists(self.slopes) and not holds_slopes(self.slopes):
            raise OptionError(_foreign(self.slopes))
        if _exists(self.text) and not self.overwrite:
            raise OptionError(
                f"there is a plan {self.text.name!r} in models/{NAME} already: load it with Apply Cache Plan, choose "
                "another name, or switch overwrite on"
            )
        try:
            self.text.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {self.text.parent}: {error.strerror or error}") from error
        write_whole(self.text, None)

    def write(self, plan: Plan) -> Plan:
        """Write both files, whole or not at all; the plan as it will be read, with slopes in float32.

        Raises:
            OptionError, OutputError: as `check`.
        """
        self.check()
        text, slopes = plan_bytes(plan, self.slopes.name)
        write_whole(self.slopes, slopes)
        write_whole(self.text, text)
        return load_plan(self.text)


def plan_place(name: str, *, overwrite: bool) -> PlanPlace:
    """The place of the plan `name`, with or without .json, in the folder of plans.

    Raises:
        OptionError: if it is no plain name, or that of a plan in another folder, which would hide this one.
        OptionError, OutputError: as `PlanPlace.check`.
    """
    stem = name.strip()
    stem = stem[: -len(_SUFFIX)] if stem.lower().endswith(_SUFFIX) else stem
    if not _PLAIN.fullmatch(stem) or len(stem) > _LONGEST or stem.lower().endswith(".progress"):
        raise OptionError(
            f"a plan's name may have letters, digits, spaces and _ - + . ( ), and must begin with a letter or digit, "
            f"got {name!r}; {_example(stem)} would do"
        )
    place = PlanPlace(text=plans_folder() / f"{stem}{_SUFFIX}", overwrite=overwrite)
    hidden_by = _found_elsewhere(place.text)
    if hidden_by is not None:
        raise OptionError(f"there is {hidden_by}, which ComfyUI would load instead; choose another name")
    place.check()
    return place


def _found_elsewhere(file: Path) -> Path | None:
    """A file of that name in a folder of plans that comes before the usual one."""
    import folder_paths

    found = folder_paths.get_full_path(NAME, file.name)
    if found is None or Path(found).parent.resolve() == file.parent.resolve():
        return None
    return Path(found)


def _exists(file: Path) -> bool:
    return file.is_symlink() or file.exists()


def _is_plan(file: Path) -> bool:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "skipstep_plan" in data


def _foreign(file: Path) -> str:
    return f"models/{NAME} has a file {file.name!r} that is not of a plan, and it stays; choose another name"


def _example(stem: str) -> str:
    plain = re.sub(r"[^\w-]+", "-", stem).strip("-_")[:_LONGEST]
    return repr(plain or "my-plan")
