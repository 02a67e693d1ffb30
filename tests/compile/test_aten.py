"""Passes as lists of ATen operators: all of what the module computes, and nothing that another process cannot run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aten_cases import CASES, Case
from torch import Tensor, nn
from torch.nn import functional

from skipstep.compile import relative_error
from skipstep.compile.aten import Lowered, LoweringError, lower
from skipstep.compile.flow_worker.operators import NAMES, Operators
from skipstep.compile.flow_worker.program import Program
from skipstep.compile.flow_worker.wire import COMPILING

pytestmark = pytest.mark.usefixtures("no_grad")
ROUNDING = 1e-6  # norms and attention are composed of other functions


def ran(lowered: Lowered, module: nn.Module, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What torch makes of a lowered pass."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    weights = {name: own[path] for name, path in lowered.weights.items()}
    program = Program(nodes=lowered.nodes, inputs=[*lowered.inputs], outputs=lowered.outputs, tell=lambda _: None)
    given = [tensors[index] for index in lowered.inputs.values()]
    return program.run(torch, {**weights, **lowered.constants}, given)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operator_computes_what_torch_does(case: Case) -> None:
    module, tensors = case.module(), case.tensors()
    lowered = lower(module, tensors, known=NAMES)
    assert case.operator in [node["operator"] for node in lowered.nodes]
    expected, made = module(*tensors), ran(lowered, module, tensors)
    assert len(made) == len(expected)
    for one, other in zip(expected, made, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.float().std() > 1e-3
        assert relative_error(one, other) <= ROUNDING


def test_each_operator_has_a_case_and_a_method() -> None:
    assert {case.operator for case in CASES} == set(NAMES)
    operators = Operators(torch)
    assert all(callable(operators[name]) for name in NAMES)


class Frequencies(nn.Module):
    """As the embedding of a timestep: half of it depends on nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x: Tensor, unused: Tensor) -> tuple[Tensor, ...]:
        steps = torch.exp(-torch.arange(3, dtype=torch.float32) / 3)
        made = torch.sin(x.clone() * steps) * self.weight
        return torch.where(self.mask, made, torch.full((), -1.0)), unused.new_zeros(2) + x[:2]


def test_what_depends_on_nothing_is_computed_once_and_what_has_no_effect_is_left_out() -> None:
    module, tensors = Frequencies(), (torch.tensor([1.0, 2.0, 3.0]), torch.randn(4))
    lowered = lower(module, tensors, known=NAMES)
    operators = [node["operator"] for node in lowered.nodes]
    assert not {"aten.arange.start_step", "aten.exp.default", "aten.full.default", "aten.clone.default"} & {*operators}
    assert operators[:2] == ["aten.mul.Tensor", "aten.sin.default"]
    assert [*lowered.inputs.values()] == [0]
    assert sorted(lowered.weights.values()) == ["mask", "weight"]
    assert any(torch.equal(one, torch.exp(-torch.arange(3.0) / 3)) for one in lowered.constants.values())
    for expected, made in zip(module(*tensors), ran(lowered, module, tensors), strict=True):
        assert torch.equal(expected, made)


def test_the_number_of_each_operator_is_told_before_it_runs() -> None:
    told: list[int] = []
    module, tensors = Frequencies(), (torch.tensor([1.0, 2.0, 3.0]), torch.randn(4))
    lowered = lower(module, tensors, known=NAMES)
    nodes = [*lowered.nodes[:2], {**lowered.nodes[2], "operator": "aten.none"}]
    own = dict(module.named_parameters())
    weights = {name: own[path] for name, path in lowered.weights.items() if path in own}
    program = Program(nodes=nodes, inputs=[*lowered.inputs], outputs=lowered.outputs, tell=told.append)
    with pytest.raises(KeyError, match=r"aten\.none"):
        program.run(torch, {**weights, **lowered.constants}, tensors[:1])
    assert told == [1, 2, 3]
    assert COMPILING not in told


def attention(**options: Any) -> nn.Module:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (functional.scaled_dot_product_attention(x, x, x, **options),)

    return Attention()


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (attention(is_causal=True), "attention.default with is_causal=True"),
        (attention(dropout_p=0.5), "attention.default with dropout_p=0.5"),
        (attention(attn_mask=torch.ones(5, 5, dtype=torch.bool).tril()), "with a mask of truth values"),
    ],
)
def test_what_of_an_operator_cannot_be_honoured_is_refused(module: nn.Module, told: str) -> None:
    with pytest.raises(LoweringError, match=f"OneFlow graphs have no aten.scaled_dot_product_{told}|{told}"):
        lower(module, (torch.randn(1, 2, 5, 4),), known=NAMES)


def test_an_unknown_operator_is_named() -> None:
    class Erf(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (torch.erf(x.exp()),)

    with pytest.raises(LoweringError, match=r"have no operator aten\.erf\.default"):
        lower(Erf(), (torch.randn(3),), known=NAMES)


def test_a_pass_that_writes_to_its_buffers_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            self.count.add_(1)
            return (x + self.count,)

    with pytest.raises(LoweringError, match="writes to its own buffers"):
        lower(Counting(), (torch.randn(3),), known=NAMES)
