"""Every answer of the real server is one that its schema tells of, whatever is sent."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from real_server import show


@pytest.mark.timeout(280)
def test_answers_are_those_of_the_schema(tmp_path: Path) -> None:
    tally = fuzz.run(tmp_path, cases=1500, each=8)
    show(tally)
    assert tally.cases >= 1500
    assert tally.is_good, tally
