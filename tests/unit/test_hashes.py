"""The hash of a file is that of all its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from skipstep.hashes import file_sha256


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, 3 * 2**20 - 1])
def test_files_of_one_piece_and_of_several(size: int, tmp_path: Path) -> None:
    data = bytes(at * 7 % 251 for at in range(1000)) * (size // 1000 + 1)
    (tmp_path / "x").write_bytes(data[:size])
    assert file_sha256(tmp_path / "x") == hashlib.sha256(data[:size]).hexdigest()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "x")
