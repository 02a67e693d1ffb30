"""Adapters of language and image models: looked at before they are loaded, and written for other programs."""

from .base import BaseModel, Fingerprint, base_of_folder, base_of_module
from .canonical import write_canonical
from .conversion import ConversionHints, convert_adapter
from .gguf_file import write_gguf
from .inspection import AdapterInfo, inspect_adapter
from .modules import Module

__all__ = [
    "AdapterInfo",
    "BaseModel",
    "ConversionHints",
    "Fingerprint",
    "Module",
    "base_of_folder",
    "base_of_module",
    "convert_adapter",
    "inspect_adapter",
    "write_canonical",
    "write_gguf",
]
