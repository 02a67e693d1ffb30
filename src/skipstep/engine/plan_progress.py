"""Keeps what a plan's search has measured, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..deepcache.responses import Responses
from ..plan import Measured
from .media import write_whole


class PlanProgress:
    """A file beside the plan, for one set of settings; deleted when the plan is written.

    `settings` is whatever makes two searches the same: model fingerprint, sampler, steps, guidance, prompts, branches.
    A file of other settings, or a damaged one, is not used.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._settings = json.loads(json.dumps(settings))
        self._data: dict[str, Any] = {"settings": self._settings, "scores": {}}
        self.resumed = 0
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["settings"] == self._settings and isinstance(data["scores"], dict):
                self._data = data
                self.resumed = len(data["scores"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    @property
    def measured(self) -> Measured | None:
        """What was measured before, if anything."""
        kept = self._data.get("measured")
        if kept is None:
            return None
        responses = {
            int(branch): Responses(
                branch=int(branch),
                log_sigmas=None if entry["log_sigmas"] is None else tuple(entry["log_sigmas"]),
                inner=entry["inner"],
                runs=entry["runs"],
            )
            for branch, entry in kept["responses"].items()
        }
        work = {int(branch): float(share) for branch, share in kept["work"].items()}
        return Measured(responses=responses, gains=tuple(kept["gains"]), work=work)

    def keep_measured(self, measured: Measured) -> None:
        """Write what was measured."""
        self._data["measured"] = {
            "responses": {branch: vars(responses) for branch, responses in measured.responses.items()},
            "gains": measured.gains,
            "work": measured.work,
        }
        self._write()

    def get(self, key: str) -> float | None:
        """The score of a trial that was run before."""
        score = self._data["scores"].get(key)
        return None if score is None else float(score)

    def put(self, key: str, score: float) -> None:
        """Write the score of a trial."""
        self._data["scores"][key] = score
        self._write()

    def finish(self) -> None:
        """The plan is written; nothing is left to go on with."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_whole(self.path, json.dumps(self._data).encode())
