"""Puts a session on a diffusers pipeline and takes it off; meanwhile its `unet` slot holds a stand-in."""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..errors import AttachError, FewStepsWarning, OptionError, UnsupportedModelError
from ._keys import CallKeys
from .diffusers_unet import DiffusersUNetSplit
from .flops import InputShapes, count_flops
from .options import DeepCache
from .report import PassLog, RunReport
from .session import DeepCacheSession

FEW_STEPS = 10
_INPUTS = ("sample", "timestep", "encoder_hidden_states")  # of every UNet call, in this order
_REPORTS = 100
_KEYS = 8  # a pipeline that makes new conditionings at every step must not fill the memory with their features


class _StandIn:
    """What the pipeline calls in place of its UNet; all but the call is the UNet's own.

    It passes for the UNet in `isinstance`, and attributes are read from and written to the UNet, so that loading a
    LoRA, moving devices or reading the configuration act on the real one.
    """

    def __init__(self, unet: Any, run: AttachedRun) -> None:
        object.__setattr__(self, "_unet", unet)
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "__module__", type(unet).__module__)  # diffusers notes where a component is from

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run.evaluate(*args, **kwargs)

    def _reset_stateful_cache(self, recurse: bool = True) -> None:  # diffusers calls it when a pipeline call ends
        self._run.finish()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._unet)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unet, name)

    def __dir__(self) -> list[str]:
        return dir(self._unet)

    def __copy__(self) -> Any:
        return copy.copy(self._unet)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._unet, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:  # a copy or a pickle is one of the UNet
        return self._unet.__reduce_ex__(protocol)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._unet, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._unet, name)

    def __repr__(self) -> str:
        return repr(self._unet)


class _LiveSplit:
    """A split made anew at each full pass, so that what is put on the UNet mid-run (a LoRA, FreeU) is in it."""

    def __init__(self, unet: Any, branch: int) -> None:
        self._unet = unet
        self._split = DiffusersUNetSplit(unet, branch)

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        self._split = DiffusersUNetSplit(self._unet, self._split.branch)
        return self._split.full(*args, **kwargs)

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._split.reuse(features, *args, **kwargs)


class AttachedRun:
    """Feature reuse on one pipeline, from `attach` to `detach`; each call of the pipeline is a run of its own.

    `on_pass`, if set, is called after every evaluation with its number in the run and its kind ("F" full, "r" reuse).
    """

    def __init__(self, pipe: Any, options: DeepCache) -> None:
        unet = getattr(pipe, "unet", None)
        if unet is None:
            raise UnsupportedModelError(
                f"{type(pipe).__name__} has no `unet`; skipstep speeds up UNet pipelines (SD1.5, SDXL, SVD)"
            )
        if type(unet) is _StandIn:
            owner = "this" if unet._run.pipe is pipe else "another"
            raise AttachError(
                f"the pipeline's UNet is the stand-in of skipstep attached to {owner} pipeline; detach that first, "
                "and build pipelines that share a UNet before attaching to either"
            )
        if not isinstance(options, DeepCache):
            raise OptionError(f"options must be a DeepCache, got {options!r}; for a preset: skipstep.engine.preset")
        self._split = _LiveSplit(unet, options.branch)  # refuses what cannot be cut before anything runs
        self.pipe = pipe
        self.options = options
        self.on_pass: Callable[[int, str], None] | None = None
        self._unet = unet
        self._attached = True
        self._session: DeepCacheSession | None = None
        self._keys = CallKeys()
        self._timesteps: Any = None  # the scheduler makes them anew for every run
        self._shapes = InputShapes((), {})
        self._finished: deque[tuple[PassLog, InputShapes]] = deque(maxlen=_REPORTS)
        pipe.unet = _StandIn(unet, self)

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
            return self._unet(*args, **kwargs)
        sample, timestep, conditioning = _named(args, kwargs)
        scheduler = getattr(self.pipe, "scheduler", None)
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is not self._timesteps:  # a pipeline call that raised did not tell of its end
            self.finish()
            self._timesteps = timesteps
        if self._session is None:
            self._session, self._shapes = self._begin(), InputShapes.of(args, kwargs)
        key = self._keys.key(sample, timestep, conditioning, getattr(scheduler, "step_index", None))
        output = self._session(key, *args, **kwargs)
        if self.on_pass is not None:
            self.on_pass(len(self._session.log) - 1, self._session.log.latest)
        return output

    def finish(self) -> None:
        """End the current run and drop its features. Pipelines call this themselves when they return."""
        session, self._session, self._keys = self._session, None, CallKeys()
        if session is not None:
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
        if type(self.pipe.unet) is not _StandIn or self.pipe.unet._run is not self:
            return False
        self.pipe.unet = self._unet
        return True

    def _report(self, log: PassLog, shapes: InputShapes) -> RunReport:
        return log.report(count_flops(self._unet, self.options.branch, shapes))

    def _begin(self) -> DeepCacheSession:
        evaluations = getattr(self.pipe, "num_timesteps", None)
        order = int(getattr(getattr(self.pipe, "scheduler", None), "order", 1))
        schedule = self.options.schedule(evaluations=evaluations, evaluations_per_step=order)
        steps = None if evaluations is None else -(-evaluations // order)
        if steps is not None and steps < FEW_STEPS and not all(map(schedule.is_full, range(steps * order))):
            warnings.warn(
                f"{steps} steps: below {FEW_STEPS} neighbouring evaluations differ too much to share features; "
                "expect a visibly different picture, or use interval 1",
                FewStepsWarning,
                stacklevel=2,
            )
        return DeepCacheSession(self._split, schedule, self.options.new_forecast(), max_keys=_KEYS)


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Any, Tensor]:
    named = dict(zip(_INPUTS, args, strict=False)) | kwargs
    missing = [name for name in _INPUTS if named.get(name) is None]
    if missing:
        raise UnsupportedModelError(
            f"the pipeline calls its UNet without {', '.join(missing)}; skipstep speeds up conditional UNets "
            "(UNet2DConditionModel, UNetSpatioTemporalConditionModel)"
        )
    return named["sample"], named["timestep"], named["encoder_hidden_states"]


def attach(pipe: Any, options: DeepCache | None = None) -> AttachedRun:
    """Reuse deep features in all calls of `pipe` until `detach`.

    `pipe` is any diffusers pipeline with a `unet`. Its `unet` slot is replaced; the UNet itself is not touched.

    Raises:
        UnsupportedModelError: if the pipeline has no UNet that can be cut.
        BranchError: if the UNet has no such branch.
        AttachError: if the pipeline is attached already.
    """
    return AttachedRun(pipe, DeepCache() if options is None else options)


@contextmanager
def speed_up(pipe: Any, options: DeepCache | None = None) -> Iterator[AttachedRun]:
    """Reuse deep features in the calls of `pipe` inside the `with` block; afterwards the pipeline is as before.

    Example:
        with speed_up(pipe, DeepCache(interval=3, branch=0, forecast="linear")) as run:
            image = pipe("a red apple").images[0]
        print(run.report)

    Raises:
        as `attach`.
    """
    run = attach(pipe, options)
    try:
        yield run
    except BaseException:
        run._release()  # what went wrong matters more than a UNet that was replaced
        raise
    run.detach()
