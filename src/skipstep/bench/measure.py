"""Runs the rows of a case in turns and works out what each gained."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..compile import CompileOptions, Compiler, available_backends, relative_error
from ..deepcache.options import CALIBRATED
from ..engine.metrics import image_psnr, image_ssim, latent_psnr
from ..errors import OptionError, SkipstepError
from .case import AUTO, BenchCase, BenchRow
from .clock import Timing, interleaved, timed
from .environment import package_commit
from .graph_folders import GraphFolders
from .peers import Peer
from .result import BenchResult, RowResult, is_uncached
from .subjects import Made, Subject, new_subject, shortened

CPU, WALL = "cpu", "wall"  # clocks
OnRun = Callable[[str], None]


def run_case(case: BenchCase, on_run: OnRun = lambda _: None, *, graphs: Path | None = None) -> BenchResult:
    """Warm every row up, then run them all in turns, `case.rounds` times.

    On one thread of a CPU the clock is the process's own CPU time, which other processes do not disturb. A row whose
    backend or peer is not here is skipped, with the reason. Compiled graphs are kept in the folder `graphs`, where the
    next benchmark finds them; without one they are made anew.
    """
    commit = package_commit()  # now: the files may change meanwhile
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    on_run("loading the model")
    subject = new_subject(case)
    on_cpu = subject.device.type == "cpu" and torch.get_num_threads() == 1
    with GraphFolders(graphs) as folders:
        bench = _Bench(case, subject, folders, on_run)
        rows = bench.run(CPU if on_cpu else WALL)
    return BenchResult(
        case=case,
        device=subject.device,
        clock=CPU if on_cpu else WALL,
        rows=rows,
        keeps_graphs=graphs is not None,
        commit=commit,
    )


class _Bench:
    def __init__(self, case: BenchCase, subject: Subject, folders: GraphFolders, on_run: OnRun) -> None:
        self._case, self._subject, self._folders, self._on_run = case, subject, folders, on_run
        self._compilers: dict[tuple[str, Any], Compiler] = {}
        self._peers: dict[str, Peer] = {}

    def run(self, clock: str) -> list[RowResult]:
        case = self._case
        rows = [RowResult(row=row, backend=self._backend(row)) for row in case.rows]
        for result in rows:
            self._warm_up(result)
        running = [result for result in rows if result.skipped is None]
        if not running or running[0] is not rows[0]:
            raise SkipstepError(f"the baseline cannot run here: {rows[0].skipped}")
        for turn, order in enumerate(interleaved(len(running), case.rounds)):
            for index in order:
                self._on_run(f"round {turn + 1} of {case.rounds}: {running[index].row.name}")
                self._round(running[index])
        for result in running:
            self._judge(result, running[0], clock)
        return rows

    def _backend(self, row: BenchRow) -> str:
        if row.backend != AUTO:
            return row.backend
        if self._subject.device.type == "cpu":
            return "openvino" if available_backends()["openvino"].ok else "eager"
        return "inductor"

    def _warm_up(self, result: RowResult) -> None:
        """Compile what the row needs, and calibrate; a row that cannot run is skipped."""
        row = result.row
        self._on_run(f"warming up: {row.name}")
        try:
            if row.peer is not None:
                self._peers[row.name] = Peer(row, self._subject.device)
                result.peer = self._peers[row.name].version
            elif result.backend != "eager" or row.compile != CompileOptions():
                self._compiler(result)
            first = row if row.reuse is not None and row.reuse.forecast == CALIBRATED else shortened(row)
            _, timing = timed(lambda: self._run(result, first, 0), self._subject.device)
            result.warm_up_s = timing.wall
            if row.cache is not None or first is row:  # once more: the first such run may have calibrated
                self._run(result, row, 0)
        except SkipstepError as error:
            result.skipped = str(error)

    def _compiler(self, result: RowResult) -> Compiler:
        key = (result.backend, result.row.compile)
        if key not in self._compilers:
            self._compilers[key] = self._folders.new_compiler(result.backend, result.row.compile)
        return self._compilers[key]

    def _run(self, result: RowResult, row: BenchRow, index: int) -> Made:
        compiler = self._compilers.get((result.backend, row.compile))
        before = None if compiler is None else compiler.counters.as_dict()
        with warnings.catch_warnings(), self._folders.kernels_of(result.backend, row):
            warnings.simplefilter("ignore")  # few steps in warming up; plans for other samplers say so elsewhere
            made = self._subject.run(row, compiler, self._peers.get(row.name), index)
        if compiler is not None and before is not None:
            _add(result.compiled, before, compiler.counters.as_dict())
        return made

    def _round(self, result: RowResult) -> None:
        device = self._subject.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        made = [timed(partial(self._run, result, result.row, index), device) for index in range(self._subject.runs)]
        result.made = [one for one, _ in made]
        result.timings.append([timing for _, timing in made])
        if device.type == "cuda":
            result.peak_bytes = max(result.peak_bytes or 0, torch.cuda.max_memory_allocated(device))

    def _judge(self, result: RowResult, baseline: RowResult, clock: str) -> None:
        def seconds(timings: list[Timing]) -> float:
            return sum(timing.cpu if clock == CPU else timing.wall for timing in timings)

        pairs = zip(baseline.timings, result.timings, strict=True)
        result.ratios = [seconds(base) / seconds(own) for base, own in pairs]
        if self._case.random_weights and not is_uncached(result.row):
            made: list[tuple[Made, Made]] = []  # what reuse does to noise from random weights tells nothing
        else:
            made = list(zip(baseline.made, result.made, strict=True))
        for base, own in made:
            result.latent_error.append(relative_error(base.latents, own.latents))
            if not math.isfinite(result.latent_error[-1]):
                continue
            result.latent_psnr.append(latent_psnr(base.latents, own.latents))
            if base.image is not None and own.image is not None:
                result.psnr.append(image_psnr(base.image, own.image))
                result.ssim.append(image_ssim(base.image, own.image))
        peer = self._peers.get(result.row.name)
        if peer is not None:
            result.compiled = peer.traced.as_dict()


def _add(total: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Add what was counted in between; of lists what was appended."""
    for name, value in after.items():
        gained = value[len(before[name]) :] if isinstance(value, list) else value - before[name]
        total[name] = total[name] + gained if name in total else gained


def with_backend(case: BenchCase, backend: str) -> BenchCase:
    """The case with this backend wherever it says "auto".

    Raises:
        OptionError: if there is no such backend, or no row says "auto".
    """
    if all(row.backend != AUTO for row in case.rows):
        raise OptionError(f'backend is for rows that say "{AUTO}", and no row does; leave {backend!r} out')
    rows = tuple(replace(row, backend=backend) if row.backend == AUTO else row for row in case.rows)
    return replace(case, rows=rows)
