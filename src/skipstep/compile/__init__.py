"""Compiled graphs of both passes: one for each pass, branch and shape, on several backends."""

from .backend import Availability, Backend, CompileOptions, PassSpec
from .backends import BACKENDS, available_backends, new_backend
from .bundle import KernelBundle
from .calls import CompiledCalls
from .compiled_unet import CompiledUNet
from .compiler import Compiler
from .counters import CompileCounters
from .kernels import KernelFolder, default_kernels
from .onediff import register_with_onediff
from .oneflow import oneflow_environment
from .room import Cleared
from .shared import SharedGraphs, shared_store
from .split import CompiledSplit
from .store import GraphStore, StoredGraph, default_store
from .torch_compile import TorchCompileBackend
from .verify import check_outputs, relative_error

__all__ = [
    "BACKENDS",
    "Availability",
    "Backend",
    "Cleared",
    "CompileCounters",
    "CompileOptions",
    "CompiledCalls",
    "CompiledSplit",
    "CompiledUNet",
    "Compiler",
    "GraphStore",
    "KernelBundle",
    "KernelFolder",
    "PassSpec",
    "SharedGraphs",
    "StoredGraph",
    "TorchCompileBackend",
    "available_backends",
    "check_outputs",
    "default_kernels",
    "default_store",
    "new_backend",
    "oneflow_environment",
    "register_with_onediff",
    "relative_error",
    "shared_store",
]
