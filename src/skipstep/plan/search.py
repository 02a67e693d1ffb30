"""Dynamic programming over predicted errors: where the full passes of a run go, and how deep the others cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .costs import GapCosts

Passes = tuple[int | None, ...]
_State = tuple[int | None, int]  # the latest two full passes


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A schedule and its predicted mean squared final error."""

    error: float
    full: tuple[int, ...]
    branches: tuple[int, ...]  # one per gap, that after the last full pass included

    def passes(self, evaluations: int) -> Passes:
        """None for a full pass, else the branch, one per evaluation."""
        made: list[int | None] = []
        for branch, start, end in zip(self.branches, self.full, (*self.full[1:], evaluations), strict=True):
            made += [None, *[branch] * (end - start - 1)]
        return tuple(made)


def best_schedules(costs: GapCosts, full_passes: int, *, branch: int = 0, width: int = 4) -> list[Candidate]:
    """Schedules of exactly `full_passes` full passes with one branch, best first: `width` for each last pair.

    Every gap's price depends on the two full passes before it, since the forecast does; so the state is that pair
    (as in DPCache, arXiv:2602.22654, conditioned on the path).
    """
    states: dict[_State, list[tuple[float, tuple[int, ...]]]] = {(None, 0): [(0.0, (0,))]}
    for left in range(full_passes - 1, 0, -1):
        grown: dict[_State, list[tuple[float, tuple[int, ...]]]] = {}
        for (previous, last), paths in states.items():
            for until in range(last + 1, costs.evaluations - left + 1):
                price = costs.price(branch, previous, last, until)
                if price < float("inf"):
                    grown.setdefault((last, until), []).extend((e + price, (*path, until)) for e, path in paths)
        states = {state: sorted(paths)[:width] for state, paths in grown.items()}
    found = [
        Candidate(error + price, path, (branch,) * len(path))
        for (previous, last), paths in states.items()
        if (price := costs.price(branch, previous, last, costs.evaluations)) < float("inf")
        for error, path in paths
    ]
    return sorted(found)


def best_mixed(costs: GapCosts, work: Mapping[int, float], budget: float, *, rounds: int = 24) -> list[Candidate]:
    """Schedules whose gaps may differ in branch, with at most `budget` full-pass equivalents of work, best first.

    `work` is the cost of a reuse pass at each branch in full passes. Lagrangian relaxation: error + price x work is
    minimised for prices between which the budget lies, by bisection.
    """
    low, high = 0.0, 1e6
    found: dict[tuple[Passes, float], Candidate] = {}
    for _ in range(rounds):
        price = (low * high) ** 0.5 if low else high / 1e3
        candidate = _relaxed(costs, work, price)
        if candidate is None:
            break
        if schedule_work(candidate.passes(costs.evaluations), work) <= budget:
            found[(candidate.passes(costs.evaluations), candidate.error)] = candidate
            high = price
        else:
            low = price
        if low and high / low < 1.01:
            break
    return sorted(found.values())


def _relaxed(costs: GapCosts, work: Mapping[int, float], price: float) -> Candidate | None:
    best: dict[_State, tuple[float, Candidate]] = {(None, 0): (price, Candidate(0.0, (0,), ()))}
    ends: list[tuple[float, Candidate]] = []
    for last in range(costs.evaluations):
        for (previous, _), (value, path) in [(s, v) for s, v in best.items() if s[1] == last]:
            for until in range(last + 1, costs.evaluations + 1):
                options = [
                    (costs.price(branch, previous, last, until), branch) for branch in work if branch in costs.branches
                ]
                gap = until - last - 1
                error, branch = min(options, key=lambda o: o[0] + price * work[o[1]] * gap)
                if error == float("inf"):
                    continue
                total = value + error + price * work[branch] * gap
                grown = Candidate(path.error + error, path.full, (*path.branches, branch))
                if until == costs.evaluations:
                    ends.append((total, grown))
                    continue
                total += price
                grown = Candidate(grown.error, (*grown.full, until), grown.branches)
                if (last, until) not in best or total < best[last, until][0]:
                    best[last, until] = (total, grown)
    return min(ends)[1] if ends else None


def schedule_work(passes: Passes, work: Mapping[int, float]) -> float:
    """Full-pass equivalents of a run; the same for the same passes in any order, so that budgets compare exactly."""
    return math.fsum(1.0 if branch is None else work[branch] for branch in passes)


def distinct(candidates: Sequence[Candidate], evaluations: int, count: int, *, apart: int = 2) -> list[Passes]:
    """The best `count` that differ from each other in at least `apart` full passes."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if all(len(set(candidate.full) - set(other.full)) >= apart for other in kept):
            kept.append(candidate)
        if len(kept) == count:
            break
    return [candidate.passes(evaluations) for candidate in kept]
