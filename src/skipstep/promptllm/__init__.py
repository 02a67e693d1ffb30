"""Prompts that a small language model adds to: keeps the words it is given, counts CLIP's tokens, falls back."""

from .adapter_use import AdapterUse, Stacked, parsed_use
from .chat import template
from .clip_tokens import ClipTokens
from .echo import EchoEngine
from .engine import Answer, Engine, Message, Piece, Question
from .engines import ENGINES, open_engine
from .expander import PromptExpander
from .fetch import fetch_model, fetched_model
from .gguf import GgufEngine
from .hf import HfEngine
from .idle import IdleEngine
from .kept import ExpansionFolder, default_folder
from .opened import open_expander
from .preset import Preset, load_preset, shipped_presets
from .remote import RemoteEngine
from .request import ExpandRequest, Expansion
from .rewriting import rewriter_folder
from .shelf import AdapterShelf
from .special_tokens import without_special_tokens
from .training_chats import training_chats
from .unpacked import unpack_model, unpacked_model

__all__ = [
    "ENGINES",
    "AdapterShelf",
    "AdapterUse",
    "Answer",
    "ClipTokens",
    "EchoEngine",
    "Engine",
    "ExpandRequest",
    "Expansion",
    "ExpansionFolder",
    "GgufEngine",
    "HfEngine",
    "IdleEngine",
    "Message",
    "Piece",
    "Preset",
    "PromptExpander",
    "Question",
    "RemoteEngine",
    "Stacked",
    "default_folder",
    "fetch_model",
    "fetched_model",
    "load_preset",
    "open_engine",
    "open_expander",
    "parsed_use",
    "rewriter_folder",
    "shipped_presets",
    "template",
    "training_chats",
    "unpack_model",
    "unpacked_model",
    "without_special_tokens",
]
