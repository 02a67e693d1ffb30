"""Plans on disk: what is written is what is read, and what is damaged is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from skipstep.deepcache.calibrated import PlannedSlopes
from skipstep.errors import PlanError
from skipstep.plan import Fingerprint, Plan, load_plan, plan_bytes

SLOPES = {(0, 0, 2, 3): 0.1 + 1 / 3, (5, 2, 4, 5): -0.7, (0, 0, 1, 9): 2.0}
PLAN = Plan(
    model="demo",
    fingerprint=Fingerprint("0123abcd", (0.25, -1.5, 0.12345)),
    family="sdxl",
    sampler="euler",
    steps=6,
    passes=(None, 0, None, 0, None, 5),
    log_sigmas=(2.682, 2.059, 1.1, 0.2, -0.4567891, -3.5),
    slopes=PlannedSlopes(SLOPES),
    measured={"latent_psnr_db": 31.4, "size": [64, 64]},
)


def written(folder: Path, plan: Plan = PLAN, **changes: Any) -> Path:
    """The JSON of a plan whose entries are changed, with its slopes beside it."""
    text, tensors = plan_bytes(plan, "plan.safetensors")
    path = folder / "plan.json"
    path.write_text(json.dumps({**json.loads(text), **changes}), encoding="utf-8")
    (folder / "plan.safetensors").write_bytes(tensors)
    return path


def float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    text, tensors = plan_bytes(PLAN, "my plan.safetensors")
    (tmp_path / "any.json").write_bytes(text)
    (tmp_path / "my plan.safetensors").write_bytes(tensors)
    read = load_plan(tmp_path / "any.json")
    slopes = PlannedSlopes({key: float32(reach) for key, reach in SLOPES.items()})
    levels = (2.682, 2.059, 1.1, 0.2, -0.45679, -3.5)  # to five decimals; plans are compared at three
    assert read == replace(PLAN, slopes=slopes, log_sigmas=levels)
    assert read.slopes.reaches != SLOPES
    assert plan_bytes(read, "my plan.safetensors") == (text, tensors)
    assert read.full_evaluations == (0, 2, 4)


def test_a_plan_without_slopes_is_read(tmp_path: Path) -> None:
    plain = replace(PLAN, slopes=PlannedSlopes({}))
    assert load_plan(written(tmp_path, plain)).slopes.reaches == {}


def test_the_json_is_for_people() -> None:
    text = plan_bytes(PLAN, "plan.safetensors")[0].decode()
    assert text.endswith("}\n")
    assert text.count("\n") > 10
    data = json.loads(text)
    assert data["passes"] == "F 0 F 0 F 5"
    assert (data["full_passes"], data["evaluations"], data["coefficients"]) == (3, 6, "plan.safetensors")
    assert data["measured"] == {"latent_psnr_db": 31.4, "size": [64, 64]}


def test_figures_that_are_not_finite_are_null() -> None:
    figures = {"latent_psnr_db": math.inf, "lost": math.nan, "uniform_linear_db": 20.5, "prompts": 3}
    text = plan_bytes(replace(PLAN, measured=figures), "plan.safetensors")[0].decode()
    expected = {"latent_psnr_db": None, "lost": None, "uniform_linear_db": 20.5, "prompts": 3}
    assert json.loads(text)["measured"] == expected
    assert not any(word in text for word in ("NaN", "Infinity"))


def drop(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = json.loads(path.read_text())
        del data[name]
        path.write_text(json.dumps(data))

    return damage


def slopes_of(**changes: torch.Tensor) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        column = torch.zeros(2, dtype=torch.int32)
        columns = dict.fromkeys(("branch", "previous", "last", "evaluation"), column)
        tensors = {**{name: one.clone() for name, one in columns.items()}, "reach": torch.ones(2)}
        (path.parent / "plan.safetensors").write_bytes(save({**tensors, **changes}))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "not a whole plan .*make it anew"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole plan .*make it anew"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not a whole plan .*make it anew"),
    "another json": (lambda path: path.write_text("[1, 2]"), "not a whole plan .*make it anew"),
    "no plan": (lambda path: path.write_text("{}"), "plan of version None; this skipstep reads version 1"),
    "no json": (lambda path: path.unlink(), "cannot read the plan .*give the JSON of `skipstep plan`"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot read the plan .*give the JSON"),
    "no passes": (drop("passes"), r"not a whole plan \(KeyError: 'passes'\); make it anew"),
    "no fingerprint": (drop("fingerprint"), "not a whole plan .*make it anew"),
    "no slopes named": (drop("coefficients"), "not a whole plan .*make it anew"),
    "no slopes": (lambda path: (path.parent / "plan.safetensors").unlink(), "with its .safetensors beside it"),
    "slopes cut off": (
        lambda path: (path.parent / "plan.safetensors").write_bytes(plan_bytes(PLAN, "x")[1][:-3]),
        "not a whole plan .*make it anew",
    ),
    "slopes empty": (lambda path: (path.parent / "plan.safetensors").write_bytes(b""), "not a whole plan"),
    "slopes uneven": (slopes_of(reach=torch.ones(3)), "not a whole plan .*make it anew"),
    "slopes square": (slopes_of(reach=torch.ones(2, 2)), "not a whole plan .*make it anew"),
    "slopes misnamed": (lambda path: (path.parent / "plan.safetensors").write_bytes(save({})), "not a whole plan"),
    "slopes not finite": (slopes_of(reach=torch.tensor([1.0, math.nan])), "not a finite number; make it anew"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_plan_is_refused(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    load_plan(path)
    damage, message = DAMAGES[kind]
    damage(path)
    with pytest.raises(PlanError, match=message):
        load_plan(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skipstep_plan": 2}, "plan of version 2; this skipstep reads version 1. Upgrade skipstep, or make it anew"),
        ({"passes": "0 F F F F F"}, "must begin with a full pass .*make the plan anew with `skipstep plan`"),
        ({"passes": "F 0 F -1 F 5"}, "branches of a plan must be 0 or more, .*make the plan anew"),
        ({"passes": "F 0 F x F 5"}, "not a whole plan .*make it anew"),
        ({"passes": ""}, "must begin with a full pass"),
        ({"passes": "F 0 F"}, "a plan of 3 passes has 6 noise levels; make it anew"),
        ({"passes": [None, 0]}, "not a whole plan .*make it anew"),
        ({"log_sigmas": None}, "not a whole plan .*make it anew"),
        ({"log_sigmas": [1, 0.5, 0, -1, -2, math.nan]}, "noise level or a slope that is not a finite number"),
        ({"steps": math.inf}, "not a whole plan .*make it anew"),
        ({"steps": "many"}, "not a whole plan .*make it anew"),
        ({"fingerprint": "0123"}, "not a whole plan .*make it anew"),
        ({"measured": 3}, "not a whole plan .*make it anew"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(PlanError, match=message):
        load_plan(path)


@pytest.mark.parametrize("name", ["../{}", "sub/{}", "/tmp/{}", "..\\{}", "..", ".", ""])
def test_slopes_elsewhere_are_not_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    (folder / "sub").mkdir(parents=True)
    path = written(folder, coefficients=name.format("plan.safetensors"))
    for place in (tmp_path, folder / "sub"):
        (place / "plan.safetensors").write_bytes(plan_bytes(PLAN, "x")[1])
    with pytest.raises(PlanError, match="must be the plain name of a file beside it; make it anew"):
        load_plan(path)


def test_a_plan_that_cannot_be_is_not_made() -> None:
    with pytest.raises(PlanError, match="must begin with a full pass"):
        replace(PLAN, passes=(0, None, 0, 0, 0, 0))
    with pytest.raises(PlanError, match="a plan of 6 passes has 2 noise levels"):
        replace(PLAN, log_sigmas=(1.0, 0.0))
    with pytest.raises(PlanError, match="not a finite number"):
        replace(PLAN, slopes=PlannedSlopes({(0, 0, 2, 3): math.inf}))
