"""The OneFlow backend with torch in OneFlow's place: processes, weights, and all that can go wrong between them.

What OneFlow itself computes is tested in `test_oneflow_host.py`.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compile_toys import LATENT, eager, errors_of, toy_call, toy_unet
from fakes import Fake
from flow_hosts import program, stub_python
from models import sd15_pipeline
from runs import sample
from torch import nn

from skipstep import DeepCache, speed_up
from skipstep.compile import CompileOptions, Compiler, flow_process, relative_error
from skipstep.compile.oneflow import VARIABLE, OneFlowBackend, flow_host
from skipstep.errors import BackendError, CompileFallbackWarning, WorkerLostError

ROUNDING = 1e-5  # attention and norms are composed of other functions
WIDE = (LATENT, LATENT + 8)
FULL, REUSE = "full pass, 2 x 4 x 16 x 16", "reuse pass at branch 0, 2 x 4 x 16 x 16"


@pytest.fixture(autouse=True)
def _stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(stub_python(tmp_path)))


@pytest.fixture
def compiler() -> Any:
    """Without the start-up probe, which has its own tests."""

    class Known(OneFlowBackend):
        def available(self) -> Any:
            return Fake().available()

    return Compiler(Known())


def processes(compiler: Any) -> list[int]:
    return [model.pid for model in compiler.backend._passes.models]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_passes_run_in_one_process(compiler: Any) -> None:
    split = compiler(toy_unet(), (0,))
    assert max(errors_of(split, toy_call())) <= ROUNDING
    first = split.full(**toy_call())[0][0]
    assert max(errors_of(split, toy_call(1))) <= ROUNDING
    assert relative_error(first, split.full(**toy_call(1))[0][0]) > 0.1
    counters = compiler.counters
    assert (counters.compiles, counters.eager, counters.failures) == (2, 0, [])
    assert len(processes(compiler)) == 1
    assert compiler.copies_weights


def test_another_size_is_another_graph_in_the_same_process(compiler: Any) -> None:
    split = compiler(toy_unet(), (0,))
    assert max(errors_of(split, toy_call(), ["reuse"])) <= ROUNDING
    assert max(errors_of(split, toy_call(size=WIDE), ["reuse"])) <= ROUNDING
    assert compiler.counters.compiles == 2
    assert len(processes(compiler)) == 1


def test_each_model_has_a_process_which_ends_with_its_graphs(compiler: Any) -> None:
    splits = [compiler(toy_unet(seed), (0,)) for seed in (0, 1)]
    for split in splits:
        assert max(errors_of(split, toy_call(), ["reuse"])) <= ROUNDING
    pids = processes(compiler)
    assert len(set(pids)) == 2
    assert all(map(is_running, pids))
    compiler.clear()
    del split, splits
    gc.collect()
    assert not any(map(is_running, pids))


def test_a_graph_that_made_room_is_forgotten_by_the_process(compiler: Any) -> None:
    compiler.options = CompileOptions(max_graphs=2)
    split = compiler(toy_unet(), (0,))
    for size in (WIDE, (LATENT, LATENT), (LATENT + 8, LATENT), (LATENT + 8, LATENT + 8)):
        assert max(errors_of(split, toy_call(size=size), ["reuse"])) <= ROUNDING
    gc.collect()
    (model,) = compiler.backend._passes.models
    assert len(model._live) == 2
    model.process()
    assert model._left == []


@torch.no_grad()
@pytest.mark.parametrize("change", ["in place", "another tensor"])
def test_changed_weights_are_followed_without_another_graph(compiler: Any, change: str) -> None:
    unet = toy_unet()
    split = compiler(unet, (0,))
    before = eager(unet, **toy_call())
    assert max(errors_of(split, toy_call())) <= ROUNDING
    if change == "in place":
        unet.conv_out.bias.mul_(3)
    else:
        unet.conv_out.bias = nn.Parameter(unet.conv_out.bias * 3)
    assert max(errors_of(split, toy_call())) <= ROUNDING
    assert relative_error(before, eager(unet, **toy_call())) > 0.01
    counters = compiler.counters
    assert (counters.compiles, counters.refreshes, counters.eager) == (2, 2, 0)
    own = 4 * sum(parameter.numel() for parameter in unet.parameters())
    assert own < counters.weight_bytes < 2 * own  # the reuse pass has a part of them


def test_a_pipeline_draws_the_same_picture_with_two_graphs(compiler: Any) -> None:
    pipe = sd15_pipeline(unet=toy_unet())
    with speed_up(pipe, DeepCache(interval=2)):
        expected = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(interval=2), split=compiler):
        picture = sample(pipe, steps=10)
        other = sample(pipe, steps=10, seed=1)
    assert relative_error(expected, picture) <= 1e-4
    assert relative_error(picture, other) > 0.1
    counters = compiler.counters
    assert (counters.compiles, counters.hits, counters.eager) == (2, 20, 0)


def test_a_process_that_is_killed_in_a_run_ends_the_run_and_the_next_one_works(compiler: Any) -> None:
    unet = toy_unet()
    pipe, split = sd15_pipeline(unet=unet), compiler(unet, (0,))

    def kill(*_: Any) -> dict[str, Any]:
        if compiler.counters.compiles == 2 and not killed:
            killed.extend(processes(compiler))
            os.kill(killed[0], signal.SIGKILL)
        return {}

    killed: list[int] = []
    lost = "the OneFlow process was ended by SIGKILL while running; this run ends, the next starts another"
    with speed_up(pipe, DeepCache(interval=2), split=compiler):
        with pytest.raises(WorkerLostError, match=lost):
            sample(pipe, steps=10, callback_on_step_end=kill)
        picture = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(interval=2)):
        assert relative_error(sample(pipe, steps=10), picture) <= 1e-4
    counters = compiler.counters
    assert (counters.compiles, counters.eager, counters.failures) == (4, 0, [])
    assert processes(compiler) != killed
    assert split.counters is counters


def test_a_process_that_ends_between_two_runs_is_no_loss(compiler: Any) -> None:
    unet = toy_unet()
    assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING
    (pid,) = processes(compiler)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert max(errors_of(compiler(unet, (0,)), toy_call())) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.failures) == (4, [])


def test_a_process_that_is_killed_while_building_is_no_fault_of_the_operator(
    compiler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = compiler(toy_unet(), (0,))
    monkeypatch.setenv("FLOW_FAULT", "kill silu")
    with pytest.raises(WorkerLostError, match=r"SIGKILL while building aten\.silu\.default \(operator \d+ of \d+\)"):
        split.full(**toy_call())
    monkeypatch.delenv("FLOW_FAULT")
    assert max(errors_of(split, toy_call())) <= ROUNDING
    assert compiler.counters.failures == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            "abort silu",
            r"the OneFlow process was ended by SIGABRT while building aten\.silu\.default \(operator \d+ of \d+\): "
            r"stream\.cpp:147\] Check failed: no stream",
        ),
        (
            "raise silu",
            r"OneFlow failed while building aten\.silu\.default \(operator \d+ of \d+\): RuntimeError: a long story; "
            "no kernel for silu$",
        ),
    ],
)
def test_an_operator_that_fails_is_named_and_the_pass_runs_eagerly(
    compiler: Any, monkeypatch: pytest.MonkeyPatch, fault: str, told: str
) -> None:
    unet = toy_unet()
    split = compiler(unet, (0,))
    monkeypatch.setenv("FLOW_FAULT", fault)
    with pytest.warns(CompileFallbackWarning, match=f"{FULL}, which runs eagerly: BackendError: {told}"):
        (output,) = split.full(**toy_call())[0]
    assert torch.equal(output, eager(unet, **toy_call()))
    monkeypatch.delenv("FLOW_FAULT")
    assert max(errors_of(split, toy_call(), ["reuse"])) <= ROUNDING  # in another process
    counters = compiler.counters
    assert (counters.compiles, len(counters.failures)) == (1, 1)


def test_a_build_that_crashed_is_tried_once_more(
    compiler: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOW_FAULT", "abort silu")
    monkeypatch.setenv("FLOW_FAULT_ONCE", str(tmp_path / "crashed"))
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call())) <= ROUNDING
    assert (tmp_path / "crashed").exists()
    assert (compiler.counters.compiles, compiler.counters.failures) == (2, [])


def test_an_unknown_operator_is_named_before_any_process_starts(compiler: Any) -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sort(x).values

    unet = toy_unet()
    unet.conv_act = Sorted()
    split = compiler(unet, (0,))
    told = f"{FULL}, which runs eagerly: LoweringError: OneFlow graphs have no operator aten.sort.default"
    with pytest.warns(CompileFallbackWarning, match=told):
        (output,) = split.full(**toy_call())[0]
    assert torch.equal(output, eager(unet, **toy_call()))
    assert processes(compiler) == [None]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_call_leaves_no_answer_to_the_next(
    compiler: Any, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    split = compiler(toy_unet(), (0,))
    assert max(errors_of(split, toy_call())) <= ROUNDING

    def interrupted(_: Any) -> None:
        raise kind

    with monkeypatch.context() as patch:
        patch.setattr(flow_process, "receive", interrupted)
        with pytest.raises(kind):
            split.full(**toy_call())
    assert max(errors_of(split, toy_call(1))) <= ROUNDING
    assert compiler.counters.failures == []


@pytest.mark.parametrize("spoil", [{"device": "meta"}, {"dtype": torch.bfloat16}, {"dtype": torch.float16}])
def test_what_it_cannot_take_is_refused_before_compiling(spoil: dict[str, Any]) -> None:
    backend = Fake()
    errors_of(Compiler(backend)(toy_unet(), (0,)), toy_call(), ["reuse"])
    (spec,) = backend.specs
    spec = replace(spec, example=tuple(tensor.to(**spoil) for tensor in spec.example))
    with pytest.raises(ValueError, match="for models on the CPU here, got meta|nothing in torch.b?float16 on CPUs"):
        OneFlowBackend().compile(nn.Identity(), spec)


def test_an_environment_that_works_says_its_versions() -> None:
    available = OneFlowBackend().available()
    assert available.ok
    assert available.detail.startswith("oneflow 0.9.0, Python 3.")


Prepare = Callable[[Path, pytest.MonkeyPatch], None]


def unset(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)


def gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(folder / "nowhere" / "python"))


def no_program(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "python").write_bytes(b"\x7fELF no")


def saying(lines: str) -> Prepare:
    return lambda folder, _: program(folder, f"import sys\nsys.exit({lines!r})") and None


PLACEHOLDER = 'Traceback ...\nRuntimeError: This package is a placeholder.\nInstall it as "https://..." says'
LIBRARY = "ImportError: libcudnn_ops_infer.so.8: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (unset, f"not set up: make an environment with .*oneflow_env FOLDER.*, then set {VARIABLE} to its python"),
        (gone, f"{VARIABLE} is '.*nowhere/python', which is no program; make an environment with"),
        (no_program, "cannot be started: Exec format error"),
        (saying(PLACEHOLDER), "is the placeholder package of PyPI, not OneFlow; .* installs 0.9.0"),
        (saying(LIBRARY), "libraries are missing: ImportError: libcudnn_ops_infer.so.8.* makes stand-ins"),
        (saying("ModuleNotFoundError: No module named 'oneflow'"), "has no OneFlow .*; make an environment with"),
        (lambda folder, _: program(folder, "import os; os.abort()") and None, "python ended with -6"),
    ],
)
def test_what_is_wrong_with_an_environment_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Prepare, told: str
) -> None:
    prepare(tmp_path, monkeypatch)
    with pytest.raises(BackendError, match=f"the oneflow backend cannot be used here: .*{told}"):
        Compiler("oneflow")


def test_a_slow_environment_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipstep.compile.oneflow._PROBE_S", 0.2)
    program(tmp_path, "import sys; sys.stdin.read() if sys.stdin.isatty() else __import__('threading').Event().wait()")
    assert "takes more than 0.2 seconds" in flow_host().problem


def test_a_process_that_hangs_is_given_up_and_the_next_run_works(compiler: Any) -> None:
    split = compiler(toy_unet(), (0,))
    assert max(errors_of(split, toy_call())) <= ROUNDING
    (model,) = compiler.backend._passes.models
    os.kill(model.pid, signal.SIGSTOP)
    model.process()._socket.settimeout(0.2)
    with pytest.raises(
        WorkerLostError, match="gave no answer for 30 minutes while running; it was ended, and the next"
    ):
        split.full(**toy_call())
    assert max(errors_of(split, toy_call(1))) <= ROUNDING
    assert compiler.counters.failures == []


def test_weights_are_handed_over_in_pieces(compiler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_process, "_CHUNK", 1000)
    sent: list[int] = []
    real = flow_process.send

    def send(to: Any, message: dict[str, Any]) -> None:
        sent.extend([len(message["names"])] if message["do"] == "weights" else [])
        real(to, message)

    monkeypatch.setattr(flow_process, "send", send)
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call())) <= ROUNDING
    assert len(sent) > 10
    assert max(sent) > 1


@pytest.fixture
def _no_onediff_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onediff.py").write_text("raise ImportError('no')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("_no_onediff_here")
def test_onediff_is_used_in_an_environment_that_has_it(tmp_path: Path) -> None:
    program(tmp_path, 'print(\'{"python": "3.10.13", "oneflow": "0.9.0", "onediff": "1.2.0"}\')')
    compiler = Compiler("onediff")
    assert compiler.backend.available().detail == "onediff 1.2.0 on oneflow 0.9.0, Python 3.10.13, for the CPU"
    assert compiler.copies_weights


@pytest.mark.usefixtures("_no_onediff_here")
def test_without_onediff_here_or_there_both_reasons_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, 'print(\'{"python": "3.10.13", "oneflow": "0.9.0"}\')')
    told = "OneDiff is not installed: pip install onediff .*; nor is there a OneFlow host with it: "
    with pytest.raises(BackendError, match=told + ".* has no OneDiff; .*oneflow_env FOLDER --onediff` installs it"):
        Compiler("onediff")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(BackendError, match=told + "not set up: make an environment"):
        Compiler("onediff")
