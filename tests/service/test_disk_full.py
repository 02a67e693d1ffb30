"""A full disk refuses jobs, and loses none."""

from __future__ import annotations

from pathlib import Path

import disk_full
import pytest
from real_server import show


@pytest.mark.timeout(180)
def test_nothing_is_lost_to_a_full_disk(tmp_path: Path) -> None:
    try:
        tally = disk_full.run(tmp_path, refusals=60)
    except PermissionError as error:
        pytest.skip(str(error))
    show(tally)
    assert tally.is_good, tally
    assert "No space left" in tally.reason or "disk is full" in tally.reason
