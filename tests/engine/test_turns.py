from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from skipstep.engine.turns import take_turns


@dataclass
class Made:
    report: Any
    seconds: float
    turn: int


def test_both_sides_are_called_in_turns_with_the_order_swapped() -> None:
    calls: list[str] = []

    def side(name: str, loops: list[float]) -> Any:
        def make(turn: int) -> Made:
            calls.append(f"{name}{turn}")
            return Made(SimpleNamespace(loop_s=loops[turn]), 2 * loops[turn] + 1, turn)

        return make

    turns = take_turns({"baseline": side("b", [6.0, 8.0, 9.0]), "cached": side("c", [2.0, 2.0, 3.0])}, 3)
    assert calls == ["b0", "c0", "c1", "b1", "b2", "c2"]
    assert turns.loop_ratios == (3.0, 4.0, 3.0)
    assert turns.speedup == 3.0
    assert turns.total_ratios == pytest.approx((13 / 5, 17 / 5, 19 / 7))
    assert turns.total_speedup == pytest.approx(19 / 7)
    assert turns.baseline.turn == turns.cached.turn == 2
    assert turns.as_dict()["speedup_rounds"] == (3.0, 4.0, 3.0)
