"""The node classes: thin translations of widgets into skipstep calls."""

from __future__ import annotations

from typing import Any

from .apply_plan import SkipstepApplyPlan
from .checkpoint_loader import SkipstepCheckpointLoader
from .compare import SkipstepCompare
from .compile_controlnet import SkipstepCompileControlNet
from .compile_model import SkipstepCompileModel
from .compile_vae import SkipstepCompileVAE
from .deepcache import SkipstepDeepCache
from .demo_checkpoint import SkipstepDemoCheckpoint, SkipstepDemoVideoCheckpoint
from .plan_cache import SkipstepPlanCache
from .report import SkipstepReport
from .svd import SkipstepSVDSpeedup

NODES: tuple[Any, ...] = (
    SkipstepDeepCache,
    SkipstepSVDSpeedup,
    SkipstepApplyPlan,
    SkipstepPlanCache,
    SkipstepCompileModel,
    SkipstepCompileVAE,
    SkipstepCompileControlNet,
    SkipstepCheckpointLoader,
    SkipstepReport,
    SkipstepCompare,
    SkipstepDemoCheckpoint,
    SkipstepDemoVideoCheckpoint,
)
