"""SoRA: LoRA whose rank components have gates, which a proximal step closes (Ding et al. 2023, arXiv:2311.11696)."""

from ..loop_checkpoint import Checkpointing
from .checkpoint import SoraCheckpoint, load_checkpoint, save_checkpoint
from .conversion import lora_config, lora_tensors, save_lora_folder
from .gates import AttachedSora, attach
from .initial import SoraOptions, initial_state
from .layer import GatedLinear
from .proximal import SoraOptimizer, soft_threshold
from .pruning import pruned
from .published import published_state, read_published
from .schedule import SparsitySchedule, rising_schedule
from .state import GatedFactors, SoraState
from .training import SoraProgress, SoraTraining, train_sora

__all__ = [
    "AttachedSora",
    "Checkpointing",
    "GatedFactors",
    "GatedLinear",
    "SoraCheckpoint",
    "SoraOptimizer",
    "SoraOptions",
    "SoraProgress",
    "SoraState",
    "SoraTraining",
    "SparsitySchedule",
    "attach",
    "initial_state",
    "load_checkpoint",
    "lora_config",
    "lora_tensors",
    "pruned",
    "published_state",
    "read_published",
    "rising_schedule",
    "save_checkpoint",
    "save_lora_folder",
    "soft_threshold",
    "train_sora",
]
