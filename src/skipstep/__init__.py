"""skipstep: the same picture from a UNet diffusion model in a third of the work, and the figures to know it."""

from .deepcache import AttachedRun, DeepCache, RunReport, attach, speed_up
from .errors import SkipstepError

__all__ = ["AttachedRun", "DeepCache", "RunReport", "SkipstepError", "attach", "speed_up"]
__version__ = "0.1.0"
