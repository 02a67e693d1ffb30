"""Prompts that a small language model adds to: keeps the words it is given, counts CLIP's tokens, falls back."""

from .chat import template
from .clip_tokens import ClipTokens
from .echo import EchoEngine
from .engine import Engine, Message, Piece, Question
from .engines import ENGINES, open_engine
from .expander import PromptExpander
from .fetch import fetch_model, fetched_model
from .gguf import GgufEngine
from .kept import ExpansionFolder, default_folder
from .preset import Preset, load_preset, shipped_presets
from .remote import RemoteEngine
from .request import ExpandRequest, Expansion
from .special_tokens import without_special_tokens

__all__ = [
    "ENGINES",
    "ClipTokens",
    "EchoEngine",
    "Engine",
    "ExpandRequest",
    "Expansion",
    "ExpansionFolder",
    "GgufEngine",
    "Message",
    "Piece",
    "Preset",
    "PromptExpander",
    "Question",
    "RemoteEngine",
    "default_folder",
    "fetch_model",
    "fetched_model",
    "load_preset",
    "open_engine",
    "shipped_presets",
    "template",
    "without_special_tokens",
]
