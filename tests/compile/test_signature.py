"""The signature of a call: what is in a graph's key, and what cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skipstep.compile.signature import CallTree, described, digest


def key_of(*args: Any, **kwargs: Any) -> Any:
    return CallTree.of(args, kwargs)[0].key


def test_a_call_comes_back_with_other_tensors_in_place() -> None:
    a, b, c = torch.zeros(1), torch.ones(2), torch.full((3,), 2.0)
    args, kwargs = (a, 3, None), {"more": {"list": [b, "text"], "pair": (c, 0.5)}, "flag": False}
    tree, tensors = CallTree.of(args, kwargs)
    assert [one is other for one, other in zip(tensors, (a, b, c), strict=True)] == [True] * 3
    x, y, z = torch.rand(1), torch.rand(2), torch.rand(3)
    made_args, made_kwargs = tree.rebuild((x, y, z))
    assert made_args[0] is x
    assert made_args[1:] == (3, None)
    assert list(made_kwargs) == ["more", "flag"]
    assert made_kwargs["flag"] is False
    assert made_kwargs["more"]["list"][0] is y
    assert made_kwargs["more"]["list"][1] == "text"
    assert isinstance(made_kwargs["more"]["pair"], tuple)
    assert made_kwargs["more"]["pair"][0] is z


def test_lists_are_new_at_every_rebuild() -> None:
    """A T2I-Adapter's list is emptied by the UNet that it is given to."""
    given = [torch.zeros(1), torch.ones(1)]
    tree, tensors = CallTree.of((), {"residuals": given})
    tree.rebuild(tensors)[1]["residuals"].clear()
    assert len(tree.rebuild(tensors)[1]["residuals"]) == len(given) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_a_rebuild_with_too_few_tensors_or_too_many_gives_no_call(count: int) -> None:
    tree, _ = CallTree.of((torch.zeros(1), torch.zeros(1)), {})
    if count == 1:
        with pytest.raises((StopIteration, RuntimeError)):
            tree.rebuild([torch.zeros(1)] * count)
    else:
        assert len(tree.rebuild([torch.zeros(1)] * count)[0]) == 2


def test_a_tree_holds_no_tensor() -> None:
    tree, _ = CallTree.of((torch.zeros(1), 2), {"more": [torch.zeros(1)]})
    assert not any(isinstance(leaf, Tensor) for leaf in tree.leaves)
    assert tree.is_tensor == (True, False, True)


DIFFERENT = [
    ({"x": 1}, {"x": 1.0}),
    ({"x": 1}, {"x": True}),
    ({"x": 0}, {"x": False}),
    ({"x": None}, {"x": 0}),
    ({"x": None}, {}),
    ({"x": None}, {"x": torch.zeros(1)}),
    ({"x": "1"}, {"x": 1}),
    ({"x": torch.float16}, {"x": torch.float32}),
    ({"x": 1}, {"y": 1}),
    ({"x": [1, 2]}, {"x": (1, 2)}),
    ({"x": [1, 2]}, {"x": [2, 1]}),
    ({"x": [1, [2]]}, {"x": [[1], 2]}),
    ({"x": {"a": 1}}, {"x": {"b": 1}}),
    ({"x": {1: 0}}, {"x": {"1": 0}}),
    ({"x": [torch.zeros(1)]}, {"x": [torch.zeros(1), torch.zeros(1)]}),
    ({"x": []}, {"x": None}),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_calls_of_other_values_or_structure_have_other_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(**one) != key_of(**other)
    assert digest(key_of(**one)) != digest(key_of(**other))
    assert key_of(**one) == key_of(**one)


def test_positional_and_keyword_arguments_are_not_the_same_structure() -> None:
    assert key_of(1) != key_of(x=1)


def test_tensors_have_no_part_in_the_key_and_all_in_the_description() -> None:
    small, large = torch.zeros(2, 3), torch.ones(4, dtype=torch.float16)
    assert key_of(small, n=1) == key_of(large, n=1)
    assert hash(key_of(small, n=1)) == hash(key_of(large, n=1))
    assert described((small, large)) == (
        ((2, 3), torch.float32, torch.device("cpu")),
        ((4,), torch.float16, torch.device("cpu")),
    )
    assert described((small,)) != described((small.T,))
    assert described((small,)) != described((small.double(),))
    assert described((small,)) != described((small.to("meta"),))


@pytest.mark.parametrize(
    "foreign", [object(), {1, 2}, np.zeros(2), 1j, b"bytes", len], ids=lambda value: str(type(value))
)
@pytest.mark.parametrize("place", ["argument", "inside"])
def test_what_is_neither_tensor_nor_plain_is_told_of_and_stays_in_the_call(foreign: Any, place: str) -> None:
    value = foreign if place == "argument" else {"inner": [torch.zeros(1), foreign]}
    tree, tensors = CallTree.of((torch.zeros(1),), {"x": value})
    assert tree.stranger is type(foreign)
    _, kwargs = tree.rebuild(tensors)
    assert (kwargs["x"] if place == "argument" else kwargs["x"]["inner"][1]) is foreign
    assert CallTree.of((torch.zeros(1),), {"x": [1, 2.5, None, "text", True, torch.float32]})[0].stranger is None


def test_a_number_that_is_none_names_one_graph() -> None:
    assert key_of(float("nan")) == key_of(float("nan")) != key_of(0.0)


PROGRAM = """
from collections import OrderedDict
import torch
from torch import nn
from skipstep.compile.signature import CallTree, described, digest
from skipstep.compile.watch import traced_state
tensor = torch.zeros(2, 3, dtype=torch.float16)
tree, tensors = CallTree.of((tensor, 1, 2.5), {"more": OrderedDict(b=[tensor, None], a="text"), "flag": True})
module = nn.Sequential(nn.Linear(2, 3), nn.SiLU())
module[0].processor, module[0].scaling = nn.ReLU.forward, {"toy": 0.1}
module[1].register_forward_hook(print)
print(digest(tree.key, described(tensors), torch.device("cpu")), digest(*traced_state(module)))
"""


def test_names_of_files_are_the_same_in_another_process() -> None:
    made = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        made.append(subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True))
    tensor = torch.zeros(2, 3, dtype=torch.float16)
    tree, tensors = CallTree.of((tensor, 1, 2.5), {"more": OrderedDict(b=[tensor, None], a="text"), "flag": True})
    call = digest(tree.key, described(tensors), torch.device("cpu"))
    first, second = (run.stdout.decode().split() for run in made)
    assert first == second
    assert first[0] == call
    assert len(set(first)) == 2


def test_a_digest_tells_its_parts_apart() -> None:
    assert digest("a", "bc") != digest("ab", "c")
    assert digest(("a",), "b") != digest("a", ("b",))
    assert digest(1) != digest("1")
    assert len(digest("a")) == 24
