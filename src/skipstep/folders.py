"""Where a user's caches are, as the operating system has it."""

from __future__ import annotations

from pathlib import Path

from .errors import MissingExtraError, OutputError


def cache_folder(name: str) -> Path:
    """The folder of this name among skipstep's caches; it is not made here.

    Raises:
        MissingExtraError: without platformdirs.
        OutputError: if this user has no folder for caches, as where neither HOME nor a passwd entry is set.
    """
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtraError(f"a folder for {name} needs platformdirs: pip install 'skipstep[cli]'") from error
    try:
        folder = user_cache_path("skipstep") / name
    except RuntimeError:  # newer ones raise, older ones give "~" for a name
        folder = Path()
    if not folder.is_absolute():
        raise OutputError(f"there is no folder for {name}: set HOME or XDG_CACHE_HOME to an absolute path")
    return folder
