"""The proximal operator and one step of SoRA, against the paper's formulas."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from skipstep.adapters.sora import SoraOptimizer, soft_threshold
from skipstep.errors import OptionError


def formula(value: float, threshold: float) -> float:
    """The operator as the paper writes it, in Python's floats."""
    sign = (value > 0) - (value < 0)
    return sign * max(abs(value) - threshold, 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_operator_is_the_formula_for_random_values(dtype: torch.dtype) -> None:
    draw = random.Random(0)
    values = torch.tensor([draw.gauss(0, 1) for _ in range(5000)], dtype=dtype)
    left = 0
    for threshold in (0.0, 0.125, 0.5, 1.0, 4.0):  # exact in both types
        result = soft_threshold(values, threshold)
        expected = torch.tensor([formula(value, threshold) for value in values.tolist()], dtype=dtype)
        assert torch.equal(result, expected)
        left += int(result.count_nonzero())
    assert 5000 < left < 5 * 5000


def test_the_edges_of_the_operator() -> None:
    values = torch.tensor([0.0, -0.0, 0.5, -0.5, 0.5000001, -0.75, 0.25, 1e30, -1e-38, float("inf")])
    result = soft_threshold(values, 0.5)
    assert result[:4].tolist() == [0, 0, 0, 0]
    assert 0 < float(result[4]) < 1e-6
    assert result[5:].tolist() == [-0.25, 0.0, pytest.approx(1e30), 0.0, float("inf")]
    assert torch.equal(soft_threshold(values, 0.0), values)


def test_values_between_one_and_two_thresholds_are_kept() -> None:
    # the published code makes these zero, which the paper's formula does not
    result = soft_threshold(torch.tensor([0.12, 0.19, 0.2001], dtype=torch.float64), 0.1)
    assert result.tolist() == pytest.approx([0.02, 0.09, 0.1001], abs=1e-15)


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_a_threshold_below_zero_is_refused(threshold: float) -> None:
    with pytest.raises(OptionError, match="a threshold must be 0 or more"):
        soft_threshold(torch.ones(1), threshold)


def parameters() -> tuple[nn.Parameter, nn.Parameter]:
    matrix = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    gate = nn.Parameter(torch.tensor([1.0, -0.5, 0.03, 0.0], dtype=torch.float64))
    matrix.grad = torch.tensor([[0.5, -4.0]], dtype=torch.float64)
    gate.grad = torch.tensor([0.2, 0.4, -0.1, 3.0], dtype=torch.float64)
    return matrix, gate


def test_a_plain_step_by_hand() -> None:
    matrix, gate = parameters()
    SoraOptimizer([matrix], [gate], gate_rule="gradient").step(rate=0.1, penalty=0.5)
    # g - 0.1 * gradient is 0.98, -0.54, 0.04, -0.3; the threshold is 0.1 * 0.5
    assert gate.tolist() == pytest.approx([0.93, -0.49, 0.0, -0.25], abs=1e-15)
    assert gate[2] == 0
    # Adam's first step is the rate, against the gradient's sign
    assert matrix.tolist()[0] == pytest.approx([0.9, -1.9], abs=1e-8)
    assert matrix.grad is None
    assert gate.grad is None


def test_an_adam_step_by_hand() -> None:
    matrix, gate = parameters()
    SoraOptimizer([matrix], [gate]).step(rate=0.1, penalty=0.5)
    assert gate.tolist() == pytest.approx([0.85, -0.55, 0.08, -0.05], abs=1e-7)


def test_weight_decay_is_for_the_matrices_alone() -> None:
    plain, decayed = parameters(), parameters()
    SoraOptimizer([plain[0]], [plain[1]]).step(rate=0.1, penalty=0.0)
    SoraOptimizer([decayed[0]], [decayed[1]], weight_decay=0.5).step(rate=0.1, penalty=0.0)
    assert torch.equal(plain[1], decayed[1])
    assert (plain[0] - decayed[0])[0].tolist() == pytest.approx([0.05, -0.1], abs=1e-12)


def test_moments_can_be_carried_over() -> None:
    def step(optimizer: SoraOptimizer, matrix: nn.Parameter, gate: nn.Parameter) -> None:
        matrix.grad, gate.grad = torch.full_like(matrix, -0.3), torch.full_like(gate, 0.7)
        optimizer.step(rate=0.1, penalty=0.01)

    matrix, gate = parameters()
    first = SoraOptimizer([matrix], [gate])
    first.step(rate=0.1, penalty=0.01)
    carried = {name: value.clone() for name, value in first.tensors().items()}
    copies = nn.Parameter(matrix.detach().clone()), nn.Parameter(gate.detach().clone())
    forgetful = nn.Parameter(matrix.detach().clone()), nn.Parameter(gate.detach().clone())
    step(first, matrix, gate)
    second = SoraOptimizer([copies[0]], [copies[1]])
    second.load(carried)
    step(second, *copies)
    assert torch.equal(copies[0], matrix)
    assert torch.equal(copies[1], gate)
    step(SoraOptimizer([forgetful[0]], [forgetful[1]]), *forgetful)
    assert not torch.equal(forgetful[1], gate)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(OptionError, match="gate_rule must be one of adam, gradient, got 'sgd'"):
        SoraOptimizer([], [], gate_rule="sgd")  # type: ignore[arg-type]
