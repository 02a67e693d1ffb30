"""A server that is killed loses nothing that it accepted."""

from __future__ import annotations

from pathlib import Path

import kill9
import pytest


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    tally = kill9.run(times=5, folder=tmp_path, store=f"sqlite:///{tmp_path / 'jobs.db'}")
    assert tally.kills == 5
    assert tally.accepted > 20
    assert tally.succeeded == tally.accepted
    assert (tally.lost, tally.duplicated, tally.wrong, tally.unfinished_files) == (0, 0, 0, 0)
    assert tally.integrity == "ok"
    assert max(tally.attempts) > 1  # it was killed while jobs ran
