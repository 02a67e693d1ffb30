"""The settings of a server's user."""

from __future__ import annotations

import json
from pathlib import Path

# a new user is greeted by a dialog of templates, which the host does not have
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": False}


def settle_user(base: Path) -> None:
    """Write settings into a server's base directory with which no dialog greets the user."""
    file = base / "user" / "default" / "comfy.settings.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(SETTINGS))
