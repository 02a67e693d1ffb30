"""Files built to keep a reader busy for minutes: a quick look at their structure, before Pillow's thorough one."""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

MAX_SCANS = 32  # of a progressive JPEG, each over all pixels; encoders write about ten
MAX_CHUNKS = 2**16  # of a PNG or a JPEG
MAX_VALUES = 2**16  # of a TIFF's tag: strips or tiles
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # what ends coded data: not a stuffed FF, not a restart
_END, _SCAN, _APP1, _WITHOUT_LENGTH = b"\xff\xd9", b"\xff\xda", b"\xff\xe1", (b"\xff\x01", b"\xff\xd8")


def check_structure(file: BinaryIO) -> None:
    """Refuse what would take a reader far longer than any picture does; leaves the file at its start.

    Raises:
        ValueError: if it has too many parts.
    """
    start = file.read(8)
    if start == _PNG:
        _check_png(file)
    elif start[:2] == b"\xff\xd8":
        _check_jpeg(file)
    elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(file, start)
    file.seek(0)


def _check_png(file: BinaryIO) -> None:
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND":
            return
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    raise ValueError(f"more than {MAX_CHUNKS} chunks")


def _check_jpeg(file: BinaryIO) -> None:
    """Count parts, scans, and EXIF: Pillow joins its segments and copies the whole for each entry that asks for it."""
    file.seek(0)
    data = file.read()
    at = parts = scans = exifs = 0
    while (marker := _MARKER.search(data, at)) and marker[0] != _END:
        at = marker.end()
        if marker[0] not in _WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2], "big")
        parts += 1
        scans += marker[0] == _SCAN
        exifs += marker[0] == _APP1 and data[marker.end() + 2 : marker.end() + 6] == b"Exif"
        if parts > MAX_CHUNKS or scans > MAX_SCANS or exifs > 1:
            raise ValueError(f"{parts} parts, {scans} scans, {exifs} EXIF segments")


def _check_tiff(file: BinaryIO, start: bytes) -> None:
    """Bound the first directory's tags: Pillow makes an object for each tile, and reads overlapping values twice."""
    order = "<" if start[:1] == b"I" else ">"
    size = file.seek(0, os.SEEK_END)
    if start[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        file.seek(8)
        (at,) = struct.unpack(order + "Q", _exactly(file, 8))
        head, entry = struct.Struct(order + "Q"), struct.Struct(order + "HHQ8x")
    else:
        (at,) = struct.unpack(order + "I", start[4:8])
        head, entry = struct.Struct(order + "H"), struct.Struct(order + "HHI4x")
    if at >= size:
        raise ValueError("a directory beyond the end")
    file.seek(at)
    (entries,) = head.unpack(_exactly(file, head.size))
    total = 0
    for _ in range(min(entries, 2**16)):
        _, kind, count = entry.unpack(_exactly(file, entry.size))
        width = _TIFF_BYTES.get(kind, 1)
        total += count * width
        if total > size or (width > 1 and count > MAX_VALUES):
            raise ValueError(f"more than {MAX_VALUES} values in a tag, or more bytes than the file has")


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("cut off")
    return data
