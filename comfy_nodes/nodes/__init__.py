"""The node classes: thin translations of widgets into skipstep calls."""

from __future__ import annotations

from typing import Any

from .adapter_inspect import SkipstepAdapterInspect
from .apply_plan import SkipstepApplyPlan
from .checkpoint_loader import SkipstepCheckpointLoader
from .compare import SkipstepCompare
from .compile_controlnet import SkipstepCompileControlNet
from .compile_model import SkipstepCompileModel
from .compile_vae import SkipstepCompileVAE
from .deepcache import SkipstepDeepCache
from .demo_checkpoint import SkipstepDemoCheckpoint, SkipstepDemoVideoCheckpoint
from .plan_cache import SkipstepPlanCache
from .prompt_adapter import SkipstepPromptAdapter
from .prompt_expand import SkipstepPromptExpand
from .prompt_expand_batch import SkipstepPromptExpandBatch
from .prompt_loader import SkipstepPromptLLMLoader
from .prompt_remote import SkipstepPromptLLMRemote
from .prompt_unload import SkipstepPromptLLMUnload
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
    SkipstepPromptLLMLoader,
    SkipstepPromptLLMRemote,
    SkipstepPromptAdapter,
    SkipstepPromptExpand,
    SkipstepPromptExpandBatch,
    SkipstepPromptLLMUnload,
    SkipstepAdapterInspect,
)
