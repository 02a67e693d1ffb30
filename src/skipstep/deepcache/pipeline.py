"""Puts a session on a diffusers pipeline and takes it off; meanwhile its `unet` slot holds a stand-in."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor

from ..errors import AttachError, FewStepsWarning, OptionError, UnsupportedModelError
from ._guidance import guidance_of
from ._keys import CallKeys
from ._live import LiveSplit, live_split
from ._noise import NoiseLevels
from ._stand_in import StandIn
from .calibrated import Slopes
from .calibration import CalibrationMemory, Calibrations, RunShape
from .flops import InputShapes, count_plan_flops
from .options import CALIBRATED, DeepCache
from .report import PassLog, RunReport
from .response_session import ResponseSession
from .responses import Responses
from .schedule import ReuseSchedule
from .session import DeepCacheSession
from .split import MixedSplit, UNetSplit

FEW_STEPS = 10
_INPUTS = ("sample", "timestep", "encoder_hidden_states")  # of every UNet call, in this order
_REPORTS = 100
_KEYS = 8  # a pipeline that makes new conditionings at every step must not fill the memory with their features


class SplitMaker(Protocol):
    """Makes the split of a UNet at some branches: `live_split`, or a compiler."""

    def __call__(self, unet: Any, branches: tuple[int, ...], /) -> UNetSplit | MixedSplit:
        """A `UNetSplit` for one branch, a `MixedSplit` for several."""
        ...


class AttachedRun:
    """Feature reuse on one pipeline, from `attach` to `detach`; each call of the pipeline is a run of its own.

    `on_pass`, if set, is called after every evaluation with its number in the run and its kind ("F" full, "r" reuse).
    """

    def __init__(
        self,
        pipe: Any,
        options: DeepCache,
        calibrations: Calibrations | None = None,
        split: SplitMaker | None = None,
    ) -> None:
        unet = getattr(pipe, "unet", None)
        if unet is None:
            raise UnsupportedModelError(
                f"{type(pipe).__name__} has no `unet`; skipstep speeds up UNet pipelines (SD1.5, SDXL, SVD)"
            )
        if type(unet) is StandIn:
            owner = "this" if unet._run.pipe is pipe else "another"
            raise AttachError(
                f"the pipeline's UNet is the stand-in of skipstep attached to {owner} pipeline; detach that first, "
                "and build pipelines that share a UNet before attaching to either"
            )
        if not isinstance(options, DeepCache):
            raise OptionError(f"options must be a DeepCache, got {options!r}; for a preset: skipstep.engine.preset")
        original = unet
        if hasattr(unet, "split_maker"):  # a `skipstep.compile.CompiledUNet`
            unet, split = unet.uncompiled, split or unet.split_maker
        self._split = (split or live_split)(unet, options.branches)  # refuses what cannot be cut before anything runs
        self.pipe = pipe
        self.options = options
        self.calibrations: Calibrations = CalibrationMemory() if calibrations is None else calibrations
        self.on_pass: Callable[[int, str], None] | None = None
        self._unet = unet
        self._original = original
        self._attached = True
        self._session: DeepCacheSession | ResponseSession | None = None
        self._shape: RunShape | None = None
        self._noise = NoiseLevels(None)
        self._keys = CallKeys()
        self._timesteps: Any = None  # the scheduler makes them anew for every run
        self._shapes = InputShapes((), {})
        self._finished: deque[tuple[PassLog, InputShapes]] = deque(maxlen=_REPORTS)
        pipe.unet = StandIn(unet, self)

    @property
    def reports(self) -> list[RunReport]:
        """One report per finished run, the latest 100, oldest first; waits for the device."""
        return [self._report(log, shapes) for log, shapes in self._finished]

    @property
    def report(self) -> RunReport:
        """The latest finished run; waits for the device.

        Raises:
            AttachError: if no run has finished yet.
        """
        if not self._finished:
            raise AttachError("no run has finished yet; call the pipeline first")
        return self._report(*self._finished[-1])

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """One UNet call of the pipeline."""
        if not self._attached:
            return self._original(*args, **kwargs)
        sample, timestep, conditioning = _named(args, kwargs)
        scheduler = getattr(self.pipe, "scheduler", None)
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is not self._timesteps:  # a pipeline call that raised did not tell of its end
            self.finish()
            self._timesteps = timesteps
        if self._session is None:
            self._session, self._shapes = self._begin(timestep), InputShapes.of(args, kwargs)
        step_index = getattr(scheduler, "step_index", None)
        key = self._keys.key(sample, timestep, conditioning, step_index)
        output = self._session(key, *args, log_sigma=self._noise.at(timestep, step_index), **kwargs)
        if self.on_pass is not None:
            self.on_pass(len(self._session.log) - 1, self._session.log.latest)
        return output

    def finish(self) -> None:
        """End the current run and drop its features. Pipelines call this themselves when they return."""
        session, self._session, self._keys = self._session, None, CallKeys()
        if session is not None:
            shape = self._shape
            if isinstance(session, ResponseSession) and shape is not None and session.is_whole(shape.evaluations):
                session.finish()
                self.calibrations.put(shape, session.responses)
            session.close()
            self._finished.append((session.log, self._shapes))

    def detach(self) -> None:
        """Give the pipeline its UNet back; calling it again does nothing.

        Raises:
            AttachError: if the pipeline's UNet was replaced since.
        """
        if self._attached and not self._release():
            raise AttachError("the pipeline's UNet was replaced after skipstep was attached; it was left as it is")

    def _release(self) -> bool:
        """End the run and, if the pipeline still has the stand-in, give its UNet back; False if it has not."""
        self.finish()
        self._attached = False
        if type(self.pipe.unet) is not StandIn or self.pipe.unet._run is not self:
            return False
        self.pipe.unet = self._original
        return True

    def _report(self, log: PassLog, shapes: InputShapes) -> RunReport:
        return log.report(count_plan_flops(self._unet, self.options, shapes))

    def _begin(self, timestep: Any) -> DeepCacheSession | ResponseSession:
        scheduler = getattr(self.pipe, "scheduler", None)
        evaluations = getattr(self.pipe, "num_timesteps", None)
        order = int(getattr(scheduler, "order", 1))
        schedule = self.options.schedule(evaluations=evaluations, evaluations_per_step=order)
        self._noise = NoiseLevels(scheduler)
        self._warn_of_few_steps(schedule, evaluations, order)
        if self.options.forecast != CALIBRATED or evaluations is None or not self._reuses(schedule, evaluations):
            return self._reusing_session(schedule, evaluations, None)
        (branch,) = self.options.branches
        levels = self._noise.of_run(evaluations, timestep, getattr(scheduler, "step_index", None))
        self._shape = RunShape.of(branch, evaluations, levels, type(scheduler).__name__)
        slopes = self.calibrations.get(self._shape)
        if slopes is None:  # this run is uncached, and the next ones go by what it tells
            split, responses = LiveSplit(self._unet, branch), Responses(branch, levels)
            window, guide = self.calibrations.window, guidance_of(self.pipe)
            keeping: dict[str, Any] = {"store": self.options.new_store(), "evaluations": evaluations}
            return ResponseSession(split, responses, window=window, max_keys=_KEYS, guide=guide, **keeping)
        return self._reusing_session(schedule, evaluations, slopes)

    def _reusing_session(
        self, schedule: ReuseSchedule, evaluations: int | None, slopes: Slopes | None
    ) -> DeepCacheSession:
        return DeepCacheSession(
            self._split,
            schedule,
            self.options.new_forecast(slopes),
            max_keys=_KEYS,
            store=self.options.new_store(),
            evaluations=evaluations,
        )

    def _reuses(self, schedule: ReuseSchedule, evaluations: int) -> bool:
        return self.options.tolerance is not None or not all(map(schedule.is_full, range(evaluations)))

    def _warn_of_few_steps(self, schedule: ReuseSchedule, evaluations: int | None, order: int) -> None:
        steps = None if evaluations is None else -(-evaluations // order)
        if self.options.passes is not None or self.options.tolerance is not None:
            return  # a plan was measured; tolerance is decided step by step
        if steps is not None and steps < FEW_STEPS and self._reuses(schedule, steps * order):
            warnings.warn(
                f"{steps} steps: below {FEW_STEPS} neighbouring evaluations differ too much to share features; "
                "expect a visibly different picture, or use interval 1",
                FewStepsWarning,
                stacklevel=5,
            )


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Any, Tensor]:
    named = dict(zip(_INPUTS, args, strict=False)) | kwargs
    missing = [name for name in _INPUTS if named.get(name) is None]
    if missing:
        raise UnsupportedModelError(
            f"the pipeline calls its UNet without {', '.join(missing)}; skipstep speeds up conditional UNets "
            "(UNet2DConditionModel, UNetSpatioTemporalConditionModel)"
        )
    return named["sample"], named["timestep"], named["encoder_hidden_states"]


def attach(
    pipe: Any,
    options: DeepCache | None = None,
    *,
    calibrations: Calibrations | None = None,
    split: SplitMaker | None = None,
) -> AttachedRun:
    """Reuse deep features in all calls of `pipe` until `detach`.

    `pipe` is any diffusers pipeline with a `unet`. Its `unet` slot is replaced; the UNet itself is not touched.
    `calibrations` keeps what the "calibrated" forecast measures; without it, that lasts until `detach`. `split` makes
    the two passes: a `skipstep.compile.Compiler`; without it they are the UNet's own code.

    Raises:
        UnsupportedModelError: if the pipeline has no UNet that can be cut.
        BranchError: if the UNet has no such branch.
        AttachError: if the pipeline is attached already.
    """
    return AttachedRun(pipe, DeepCache() if options is None else options, calibrations, split)


@contextmanager
def speed_up(
    pipe: Any,
    options: DeepCache | None = None,
    *,
    calibrations: Calibrations | None = None,
    split: SplitMaker | None = None,
) -> Iterator[AttachedRun]:
    """Reuse deep features in the calls of `pipe` inside the `with` block; afterwards the pipeline is as before.

    Example:
        with speed_up(pipe, DeepCache(interval=3, branch=0, forecast="linear")) as run:
            image = pipe("a red apple").images[0]
        print(run.report)

    Raises:
        as `attach`.
    """
    run = attach(pipe, options, calibrations=calibrations, split=split)
    try:
        yield run
    except BaseException:
        run._release()  # what went wrong matters more than a UNet that was replaced
        raise
    run.detach()
