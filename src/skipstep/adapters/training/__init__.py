"""Training of adapters: TRL for SFT and DPO, and loops of ours for MeZO, SoRA and emulators."""

from .examples import ChatWriter, Example, Pair, Passage
from .forward_only import descend
from .job import TrainingStep
from .kinds import KINDS
from .methods import METHODS, Dpo, Method, Mezo, Offsite, Sft, Sora
from .options import TrainingOptions
from .records import Conversation, Preference, read_conversations, read_preferences
from .run import TrainingFiles, TrainingResult, train_adapter
from .turns import Turn
from .written import write_adapter

__all__ = [
    "KINDS",
    "METHODS",
    "ChatWriter",
    "Conversation",
    "Dpo",
    "Example",
    "Method",
    "Mezo",
    "Offsite",
    "Pair",
    "Passage",
    "Preference",
    "Sft",
    "Sora",
    "TrainingFiles",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "Turn",
    "descend",
    "read_conversations",
    "read_preferences",
    "train_adapter",
    "write_adapter",
]
