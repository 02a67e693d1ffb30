"""Everything skipstep raises or warns of.

* SkipstepError
  + ScheduleError (ValueError)            a schedule that cannot be: interval 0, a window that is empty
  + BranchError (ValueError)              no such skip connection in this UNet
  + OptionError (ValueError)              an option out of range; names value, range and remedy
  + UnsupportedModelError (TypeError)     not a UNet that can be cut
  + UnsupportedFeatureError (RuntimeError)  something the reuse pass could not honour exactly
  + BackendError (RuntimeError)           a compiler that cannot be used here; says why
  + WorkerLostError (RuntimeError)        a process that ran a graph ended; the next run starts another
  + CompileMismatchError (RuntimeError)   a compiled pass that gives something else than the model
  + NoMemoryError (MemoryError)           more than the device has; says how much, and what would fit
  + AttachError (RuntimeError)            attached twice, or detached out of order
  + PlanError (ValueError)                a plan that is damaged or for something else
  + ModelLoadError (ValueError)           a model path that is not there, not readable or not safe
  + PromptEngineError (RuntimeError)      a language model that gives no usable answer; says why
  + AdapterError (ValueError)             an adapter that is damaged, unsafe, or not for this model
  + TrainingDataError (ValueError)        data to train on that is damaged; names file, line and field
  + OutputError (OSError)                 a result that cannot be written
  + MissingExtraError (ImportError)       an optional dependency; names the `pip install` line

* AdaptedPlanWarning (UserWarning)        a plan used for other steps or another sampler than it was measured for
* CompileFallbackWarning (UserWarning)    a pass that could not be compiled and runs eagerly
* FewStepsWarning (UserWarning)           so few steps that caching costs more than it gains
* GraphNotKeptWarning (UserWarning)       a compiled graph that cannot be kept on disk and serves one process
* IgnoredInputWarning (UserWarning)       something that was asked for and has no effect
  + DemoVocabularyWarning                 words the demo model was never shown
"""

from __future__ import annotations


class SkipstepError(Exception):
    """Base of all errors raised on purpose by skipstep."""


class ScheduleError(SkipstepError, ValueError):
    """A schedule that cannot be followed."""


class BranchError(SkipstepError, ValueError):
    """The UNet has no such skip connection."""


class OptionError(SkipstepError, ValueError):
    """An option is out of range or contradicts another."""


class UnsupportedModelError(SkipstepError, TypeError):
    """The model is not a UNet that can be cut at a skip connection."""


class UnsupportedFeatureError(SkipstepError, RuntimeError):
    """A reuse pass could not honour an input exactly."""


class BackendError(SkipstepError, RuntimeError):
    """A compiler backend cannot be used on this machine."""


class WorkerLostError(SkipstepError, RuntimeError):
    """A process that computed for a run ended before the run did."""


class CompileMismatchError(SkipstepError, RuntimeError):
    """A compiled pass gives something else than the model."""


class NoMemoryError(SkipstepError, MemoryError):
    """A request does not fit into the memory of the device."""


class AttachError(SkipstepError, RuntimeError):
    """A pipeline is attached twice, or its UNet was replaced by someone else meanwhile."""


class PlanError(SkipstepError, ValueError):
    """A plan cannot be read, or is for another model, sampler or number of steps."""


class ModelLoadError(SkipstepError, ValueError):
    """A model cannot be loaded from where it was asked for."""


class PromptEngineError(SkipstepError, RuntimeError):
    """A language model cannot be asked, or does not give a usable answer."""


class AdapterError(SkipstepError, ValueError):
    """An adapter cannot be used: it is damaged, unsafe, or not for this model."""


class TrainingDataError(SkipstepError, ValueError):
    """Data to train an adapter on cannot be used."""


class OutputError(SkipstepError, OSError):
    """A result cannot be written."""


class MissingExtraError(SkipstepError, ImportError):
    """An optional dependency is not installed."""


class AdaptedPlanWarning(UserWarning):
    """A plan is used for other steps or another sampler than it was measured for."""


class CompileFallbackWarning(UserWarning):
    """A pass could not be compiled and runs eagerly."""


class FewStepsWarning(UserWarning):
    """A run has so few steps that neighbouring evaluations differ too much to share features."""


class GraphNotKeptWarning(UserWarning):
    """A compiled graph cannot be kept on disk, and is made anew by the next process."""


class IgnoredInputWarning(UserWarning):
    """Something that was asked for has no effect on the picture."""


class DemoVocabularyWarning(IgnoredInputWarning):
    """A prompt holds words that the demo model was never shown."""
