"""Runs a pass: the list of operators that a torch program was lowered to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .operators import Operators
from .wire import COMPILING

Node = dict[str, Any]  # "name", "operator", "args" and "options"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A pass as operators on named tensors; `tell` is told the number of each operator before it runs."""

    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    tell: Callable[[int], None]

    def run(self, torch: Any, weights: Mapping[str, Any], inputs: Iterable[Any]) -> tuple[Any, ...]:
        """The outputs; `torch` is OneFlow or torch."""
        operators = Operators(torch)
        known: dict[str, Any] = {**weights, **dict(zip(self.inputs, inputs, strict=True))}
        for number, node in enumerate(self.nodes, start=1):
            self.tell(number)
            args = [_meant(value, known) for value in node["args"]]
            options = {key: _meant(value, known) for key, value in node["options"].items()}
            known[node["name"]] = operators[node["operator"]](*args, **options)
        self.tell(COMPILING)
        return tuple(known[name] for name in self.outputs)


def _meant(value: Any, known: Mapping[str, Any]) -> Any:
    """An argument: a tensor by its name, or what is plain."""
    if isinstance(value, dict):
        return known[value["tensor"]]
    if isinstance(value, list):
        return [_meant(item, known) for item in value]
    return value
