"""Clips as folders of PNG files, `frame-001.png` and on."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from ..errors import OutputError
from ..whole import output_errors, sync, umask
from .media import png_bytes

_NAME = re.compile(r"frame-\d{3,}\.png")
_MARK = {"Software": "skipstep"}  # the first text in every file, within its first bytes
_MARK_BYTES = b"iTXtSoftware\0\0\0\0\0skipstep"


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, or replaced because it holds other files than an earlier clip's.

    Raises:
        OutputError: as above.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        if target == Path.cwd():
            raise OutputError(f"{path} is the current folder; give the name of one to be made in it")
        if not _holds_only_ours(target):
            raise OutputError(
                f"{path} holds other files than frames of skipstep; give the name of a new or an empty folder"
            )
    elif os.path.lexists(target):
        raise OutputError(f"{path} is a file; give the name of a folder, or of a file that ends in .mp4")
    with output_errors(path):
        _new_folder_beside(target).rmdir()


def write_folder(path: Path, frames: Sequence[Image.Image], texts: dict[str, str]) -> None:
    """Write the frames so that a reader sees the old folder or the new one, whole.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    with output_errors(path):
        unfinished = _new_folder_beside(target)
        try:
            digits = max(3, len(str(len(frames))))
            for number, frame in enumerate(frames, 1):
                file = unfinished / f"frame-{number:0{digits}}.png"
                file.write_bytes(png_bytes(frame.convert("RGB"), {**_MARK, **texts}))
                sync(file)
            unfinished.chmod(0o777 & ~umask())
            _take_place(unfinished, path, target)
        finally:
            _remove(unfinished)


def read_folder_texts(path: Path) -> dict[str, str]:
    """The texts in the first frame.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    return read_png_texts(min(_frames(path.iterdir()), default=path / "frame-001.png"))


def read_png_texts(path: Path) -> dict[str, str]:
    """The texts in a PNG file, ours before its pixels.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    with Image.open(path, formats=("PNG",)) as image:
        texts = {str(key): str(text) for key, text in image.info.items() if isinstance(text, str)}
    return {key: text for key, text in texts.items() if _MARK.get(key) != text}


def _take_place(unfinished: Path, path: Path, target: Path) -> None:
    """Rename onto `target`; what was there is put aside until that is done, and looked at once more."""
    if not target.is_dir():
        unfinished.rename(target)
        return
    aside = _new_folder_beside(target)
    aside.rmdir()  # Windows renames to free names only
    target.rename(aside)
    try:
        if not _holds_only_ours(aside):  # it was changed while the clip was made
            raise OutputError(f"{path} has got other files meanwhile; give the name of a new folder")
        unfinished.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside)


def _new_folder_beside(target: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=target.parent, prefix=".skipstep-", suffix=".part"))


def _holds_only_ours(folder: Path) -> bool:
    with output_errors(folder):
        return all(_NAME.fullmatch(file.name) and _is_marked(file) for file in folder.iterdir())


def _is_marked(file: Path) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as data:
        return _MARK_BYTES in data.read(128)


def _frames(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if _NAME.fullmatch(file.name)]


def _remove(folder: Path) -> None:
    """Delete a folder of frames, if it is still there."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
