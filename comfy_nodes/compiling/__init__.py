"""Compiled MODELs, VAEs and ControlNets: copies of what a node is given, whose graphs outlive the node's execution."""

from .choices import MODES, SHAPES, available_words, compile_options
from .control_net import compile_control_net
from .model import compile_model
from .vae import compile_vae

__all__ = [
    "MODES",
    "SHAPES",
    "available_words",
    "compile_control_net",
    "compile_model",
    "compile_options",
    "compile_vae",
]
