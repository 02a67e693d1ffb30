"""The measuring run's keys, its arguments, and the guided prediction that it measures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstep.deepcache import Responses, ResponseSession
from skipstep.deepcache._guidance import guidance_of


class Squares:
    """Deep features are the squared input; the output is theirs beside the input's."""

    def __init__(self) -> None:
        self.residuals: list[int] = []

    def full(self, sample: Tensor, residuals: list[Tensor] | None = None) -> tuple[tuple[Tensor], Tensor]:
        return self.reuse(sample.square(), sample, residuals), sample.square()

    def reuse(self, features: Tensor, sample: Tensor, residuals: list[Tensor] | None = None) -> tuple[Tensor]:
        self.residuals.append(len(residuals or ()))
        while residuals:
            residuals.pop()  # as a UNet takes a T2I-Adapter's
        return (features + sample,)


def batch(*values: float) -> Tensor:
    return torch.tensor(values).reshape(-1, 1)


def test_keys_have_features_of_their_own_and_add_up() -> None:
    responses = Responses(0, None)
    session = ResponseSession(Squares(), responses)
    for one, other in ((1.0, 10.0), (2.0, 11.0), (4.0, 13.0)):
        session("conditional", batch(one))
        session("unconditional", batch(other))
    assert session.is_whole(3)
    session.finish()
    assert responses.error(1, None, 0, 0) == 3**2 + 21**2
    assert responses.error(2, None, 1, 0) == 12**2 + 48**2
    assert responses.error(2, None, 0, 0) == 15**2 + 69**2
    assert responses.inner[2] == [[12**2 + 48**2, 12 * 15 + 48 * 69], [12 * 15 + 48 * 69, 15**2 + 69**2]]


def test_the_key_unused_for_longest_is_dropped() -> None:
    session = ResponseSession(Squares(), Responses(0, None), max_keys=2)
    for key in "aabac":  # b is dropped by c, a is not
        session(key, batch(1.0))
    assert session.cache_bytes == (3 + 1) * 4
    session("b", batch(1.0))
    assert session.cache_bytes == 2 * 4  # a went
    assert session.log.kinds == "FFFFFF"


def test_a_key_that_saw_less_is_not_mixed_with_those_that_saw_more() -> None:
    responses = Responses(0, None)
    session = ResponseSession(Squares(), responses, max_keys=1)
    for key, value in (("a", 1.0), ("a", 2.0), ("b", 5.0), ("b", 6.0)):
        session(key, batch(value))
    session._note(1, torch.zeros(0, 0))
    session.finish()
    assert responses.inner == [[], [[3.0**2 + 11.0**2]]]


def test_every_pass_is_given_the_whole_list_of_residuals() -> None:
    split = Squares()
    session = ResponseSession(split, Responses(0, None))
    residuals = [batch(1.0), batch(2.0)]
    for value in (1.0, 2.0, 3.0):
        session("key", batch(value), residuals=residuals)
    assert split.residuals == [2] * (1 + 2 + 3)
    assert len(residuals) == 2


def test_a_run_that_was_broken_off_is_not_whole() -> None:
    session = ResponseSession(Squares(), Responses(0, None))
    for value in (1.0, 2.0):
        session("key", batch(value))
    assert session.is_whole(2)
    assert not session.is_whole(3)
    session.close()
    assert not session.is_whole(2)


def pipe_of(scale: Any, *, guides: bool = True) -> SimpleNamespace:
    return SimpleNamespace(guidance_scale=scale, do_classifier_free_guidance=guides)


def test_with_guidance_the_error_is_that_of_the_guided_prediction() -> None:
    responses = Responses(0, None)
    session = ResponseSession(Squares(), responses, guide=guidance_of(pipe_of(3.0)))
    session("key", batch(1.0, 2.0))  # unconditional, conditional
    output = session("key", batch(2.0, 5.0))
    assert torch.equal(output[0], batch(6.0, 30.0))  # untouched
    session.finish()
    unconditional, conditional = 1 - 4, 4 - 25
    assert responses.error(1, None, 0, 0) == (unconditional + 3 * (conditional - unconditional)) ** 2


@pytest.mark.parametrize("pipe", [SimpleNamespace(), pipe_of(None), pipe_of(7.0, guides=False)])
def test_a_pipeline_that_does_not_guide_has_no_guidance(pipe: Any) -> None:
    assert guidance_of(pipe) is None


def test_a_scale_per_frame_guides_each_frame_by_its_own() -> None:
    guide = guidance_of(pipe_of(torch.tensor([1.0, 2.0]).reshape(1, 2, 1)))
    assert guide is not None
    guided = guide(torch.tensor([[[1.0], [1.0]], [[4.0], [4.0]]]))  # (batch, frames, 1)
    assert torch.equal(guided, torch.tensor([[[4.0], [7.0]]]))
    alone = torch.ones(1, 2, 1)
    assert guide(alone) is alone  # one half at a time


def test_an_evaluation_that_was_not_called_for_tells_nothing() -> None:
    responses = Responses(0, None)
    session = ResponseSession(Squares(), responses)
    for evaluation, value in ((0, 1.0), (1, 2.0), (3, 4.0)):
        session("key", batch(value), evaluation=evaluation)
    assert session.is_whole(4)
    session.finish()
    assert responses.inner[2] == []
    assert responses.error(1, None, 0, 0) == 3.0**2


def test_a_split_may_give_its_output_bare() -> None:
    class Bare:
        def full(self, sample: Tensor) -> tuple[Tensor, Tensor]:
            return sample.square() + sample, sample.square()

        def reuse(self, features: Tensor, sample: Tensor) -> Tensor:
            return features + sample

    responses = Responses(0, None)
    session = ResponseSession(Bare(), responses)
    session("key", torch.tensor([[1.0], [1.0]]))
    session("key", torch.tensor([[2.0], [3.0]]))
    session.finish()
    assert responses.error(1, None, 0, 0) == (3.0**2 + 8.0**2) / 2  # of all rows
