"""Models that stay loaded, and those that go."""

from __future__ import annotations

from typing import Any

import pytest
from skipstep_service.engines.models import KeptModels


class Loads:
    """Counts what is loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def __call__(self, name: str) -> Any:
        self.loaded.append(name)
        return f"{name} {len(self.loaded)}"


def test_all_stay_where_no_number_is_given() -> None:
    loads = Loads()
    models = KeptModels(loads, most=None)
    for name in "abcabc":
        models.get(name)
    assert loads.loaded == ["a", "b", "c"]


@pytest.mark.parametrize(("most", "there"), [(1, "a"), (2, "ca"), (3, "bca")])
def test_the_one_not_used_for_longest_goes(most: int, there: str) -> None:
    models = KeptModels(Loads(), most=most)
    for name in "abca":
        models.get(name)
    assert [name for name in "bca" if name in models] == list(there)


def test_one_that_is_let_go_goes_when_another_is_loaded() -> None:
    models = KeptModels(Loads(), most=None)
    models.get("a")
    models.let_go("a")
    assert "a" in models  # it may run
    models.get("b")
    assert "a" not in models


def test_one_that_is_used_meanwhile_stays() -> None:
    loads = Loads()
    models = KeptModels(loads, most=None)
    models.get("a")
    models.let_go("a")
    models.get("a")
    models.get("b")
    assert "a" in models
    assert loads.loaded == ["a", "b"]
