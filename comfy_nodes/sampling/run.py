"""One sampling run in ComfyUI: which evaluation it is at, what must not share features, and both passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from skipstep.deepcache import (
    DeepCache,
    DeepCacheSession,
    LdmMixedSplit,
    LdmUNetSplit,
    Responses,
    ResponseSession,
    RunShape,
)
from skipstep.deepcache.calibrated import Slopes
from skipstep.deepcache.options import CALIBRATED
from skipstep.deepcache.pipeline import SplitMaker
from skipstep.errors import OptionError, UnsupportedFeatureError

from .calls import RunCalls
from .samplers import SamplerRun
from .speedup import FinishedRun, Speedup

_KEYS = 4096  # tiles and regions have a key each, and all are asked for at every evaluation


def ldm_split(unet: Any, branches: tuple[int, ...]) -> Any:
    """The cut of a UNet whose passes are its own code."""
    return LdmUNetSplit(unet, branches[0]) if len(branches) == 1 else LdmMixedSplit(unet, branches)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """How a run is to go."""

    options: DeepCache
    source: str
    sampler: SamplerRun
    first_step: int
    end_step: int
    guidance_scale: float | None


class CachedRun:
    """The state of one run; dropped when it ends."""

    def __init__(self, speedup: Speedup, plot: Plot) -> None:
        self.calls = RunCalls()
        self._speedup = speedup
        self._plot = plot
        self._split: SplitMaker = speedup.compiler or ldm_split
        self._sessions: dict[int, tuple[Any, DeepCacheSession | ResponseSession]] = {}
        self._conditions: list[int] = []
        self._expected: Hashable = None  # the call that a ControlNet was told of last
        self._is_cut = False  # whether that ControlNet computed for a reuse pass only
        self._known: set[Hashable] = set()  # keys of which ControlNets are told rightly
        self._lock = threading.Lock()  # ComfyUI calls from one thread for each GPU
        self._shape = self._run_shape()
        self._new_session = self._session_maker()

    def __call__(
        self, unet: Any, x: Any, timesteps: Any, context: Any, y: Any, control: Any, options: Any, **kw: Any
    ) -> Any:
        """One call of the UNet."""
        with self._lock:
            self._conditions = options.get("cond_or_uncond") or []
            key = self.calls.take(x, options)
            session = self._session_of(unet)
            self._check_control(session, key)
        level = self._log_sigma(options)
        return session(
            key, x, timesteps, context, y, control, options, log_sigma=level, evaluation=self.calls.evaluation, **kw
        )

    def reuse_branch(self, x: Any, options: Any) -> int | None:
        """The branch of the next call with this input if it is a reuse pass for certain: what ControlNets ask."""
        with self._lock:
            key = self._expected = self.calls.following(x, options)
            sessions = list(self._sessions.values())
            if key not in self._known or len(sessions) != 1 or isinstance(sessions[0][1], ResponseSession):
                return None
            branch = sessions[0][1].reuse_branch(key, self.calls.evaluation)
            self._is_cut = branch is not None
            return branch

    def _check_control(self, session: DeepCacheSession | ResponseSession, key: Hashable) -> None:
        """Learn whether ControlNets are asked for the very calls that follow; tiles are not called as was said."""
        expected, is_cut = self._expected, self._is_cut
        self._expected, self._is_cut = None, False
        if key == expected:
            self._known.add(key)
        elif is_cut:
            raise UnsupportedFeatureError(
                "another node changed the calls of the UNet in the middle of a run with ControlNet; put DeepCache "
                "Speedup after that node, or take ControlNet out of one of the two"
            )

    def finish(self) -> None:
        """The run ended well: keep what it measured."""
        sessions = [session for _, session in self._sessions.values()]
        for session in sessions[:1]:  # of several GPUs, the first tells of all
            if isinstance(session, ResponseSession) and self._shape and session.is_whole(self._shape.evaluations):
                session.finish()
                assert self._speedup.calibrations is not None
                self._speedup.calibrations.put(self._shape, session.responses)
            self._speedup.record.add(FinishedRun(log=session.log, source=self._plot.source))

    def close(self) -> None:
        """Drop all features."""
        for _, session in self._sessions.values():
            session.close()
        self._sessions.clear()
        if hasattr(self._split, "rest"):
            self._split.rest()  # a compiler's graphs let ComfyUI move the weights

    def _log_sigma(self, options: Any) -> float | None:
        levels = self._plot.sampler.log_sigmas
        if levels is not None and self.calls.evaluation < len(levels):
            return levels[self.calls.evaluation]
        if not isinstance(self._plot.options.forecast, str) or "sigma" not in self._plot.options.forecast:
            return None  # nobody asks, and reading it would wait for the GPU
        return float(options["sigmas"].flatten()[0].log())

    def _session_of(self, unet: Any) -> DeepCacheSession | ResponseSession:
        known = self._sessions.get(id(unet))
        if known is None:
            known = self._sessions[id(unet)] = (unet, self._new_session(unet))
        return known[1]

    def _run_shape(self) -> RunShape | None:
        options, sampler = self._plot.options, self._plot.sampler
        if options.forecast != CALIBRATED:
            return None
        if sampler.evaluations is None or sampler.log_sigmas is None:
            raise OptionError(
                f"the calibrated forecast needs a sampler with one evaluation a step, got {sampler.name}; "
                "choose linear, or a sampler like euler or dpmpp_2m"
            )
        return RunShape.of(options.branch, sampler.evaluations, sampler.log_sigmas, sampler.name)

    def _session_maker(self) -> Callable[[Any], DeepCacheSession | ResponseSession]:
        plot, shape = self._plot, self._shape
        sampler = plot.sampler
        schedule = self._windowed().schedule(
            evaluations=sampler.evaluations, evaluations_per_step=sampler.evaluations_per_step
        )
        slopes: Slopes | None = None
        if shape is not None:
            assert self._speedup.calibrations is not None
            slopes = self._speedup.calibrations.get(shape)
            if slopes is None:
                return self._measuring
        options = plot.options

        def reusing(unet: Any) -> DeepCacheSession:
            return DeepCacheSession(
                self._split(unet, options.branches),
                schedule,
                options.new_forecast(slopes),
                max_keys=_KEYS,
                store=options.new_store(),
                evaluations=sampler.evaluations,
            )

        return reusing

    def _windowed(self) -> DeepCache:
        """The options, with the part of the noise schedule in steps of this run."""
        plot = self._plot
        if (plot.first_step, plot.end_step) == (0, plot.sampler.steps):
            return plot.options
        if plot.first_step >= plot.end_step:
            return DeepCache(interval=1, branch=plot.options.branch)
        return replace(plot.options, start_step=plot.first_step, end_step=plot.end_step)

    def _measuring(self, unet: Any) -> ResponseSession:
        """An uncached run that tells the next ones how features move."""
        shape, plot = self._shape, self._plot
        assert shape is not None
        assert self._speedup.calibrations is not None
        return ResponseSession(
            LdmUNetSplit(unet, shape.branch),
            Responses(shape.branch, plot.sampler.log_sigmas),
            window=self._speedup.calibrations.window,
            max_keys=_KEYS,
            guide=self._guided,
            store=plot.options.new_store(),
            evaluations=plot.sampler.evaluations,
        )

    def _guided(self, output: Any) -> Any:
        """The guided prediction of a batch that holds both sides of classifier-free guidance, in either order."""
        scale = self._plot.guidance_scale
        if scale is None or sorted(self._conditions) != [0, 1]:
            return output
        halves = dict(zip(self._conditions, output.chunk(2), strict=True))
        return halves[1] + scale * (halves[0] - halves[1])
