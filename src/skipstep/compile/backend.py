"""What a compiler backend is, and the options that all share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import Tensor, nn

from ..deepcache.options import check_whole
from ..errors import OptionError
from .counters import CompileCounters

Graph = Callable[..., tuple[Tensor, ...]]
ATTENTIONS = ("auto", "sdpa", "xformers")
PRECISIONS = ("float32", "bfloat16")
# options that every backend takes: those of the UNet itself, and those of what becomes of a graph
SHARED = frozenset({"channels_last", "fused_qkv", "attention", "verify", "max_graphs"})


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can be used here."""

    ok: bool
    detail: str  # its version, or why not and what to do

    def __str__(self) -> str:
        return self.detail if self.ok else f"not available: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """Options of compilation; a backend that cannot honour one refuses it.

    `dynamic`: one graph for every size, instead of one for each.
    `cuda_graphs`: record and replay the kernels of each pass, which takes Python out of the loop (NVIDIA only).
    `regional`: compile the repeated transformer block once, instead of each pass as a whole: a cold start of seconds,
    less speed.
    `max_autotune`: time several kernels for each operation; minutes more, once.
    `channels_last`: convolutions in that memory format, which half types prefer on GPUs.
    `fused_qkv`: one matrix product for queries, keys and values.
    `attention`: "auto" leaves it as it is, "sdpa" is torch's own, "xformers" that package's.
    `precision`: what an OpenVINO graph computes in: "float32" or "bfloat16".
    `verify`: compare each graph's first result with the eager one, and refuse a wrong graph.
    `max_graphs`: shapes that are kept; the one that was not used for longest makes room.

    Raises:
        OptionError: if a value is none of those.
    """

    dynamic: bool = False
    cuda_graphs: bool = False
    regional: bool = False
    max_autotune: bool = False
    channels_last: bool = False
    fused_qkv: bool = False
    attention: str = "auto"
    precision: str = "float32"
    verify: bool = False
    max_graphs: int = 32

    def __post_init__(self) -> None:
        for entry in fields(self):
            if isinstance(entry.default, bool) and not isinstance(getattr(self, entry.name), bool):
                raise OptionError(f"{entry.name} must be True or False, got {getattr(self, entry.name)!r}")
        for name, allowed in (("attention", ATTENTIONS), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise OptionError(f"{name} must be {' or '.join(allowed)}, got {getattr(self, name)!r}")
        check_whole("max_graphs", self.max_graphs)
        if self.max_graphs is None or self.max_graphs < 2:
            raise OptionError(f"max_graphs must be 2 or more, a full and a reuse pass, got {self.max_graphs}")

    @property
    def of_code(self) -> tuple[tuple[str, Any], ...]:
        """Those that change what a backend makes of a pass; the UNet's own show in its modules."""
        return tuple((entry.name, getattr(self, entry.name)) for entry in fields(self) if entry.name not in SHARED)


@dataclass(frozen=True, kw_only=True)
class PassSpec:
    """One pass to be compiled, for one signature."""

    name: str  # for people: "full pass 2 x 4 x 128 x 128"
    fingerprint: str  # the same in every process for the same model, pass, signature and options
    example: tuple[Tensor, ...]
    options: CompileOptions
    counters: CompileCounters


class Backend(Protocol):
    """Turns a module over flat tensors into something faster that computes the same."""

    name: str
    supports: frozenset[str]  # options of `CompileOptions` that it honours, of those that not all do

    def available(self) -> Availability:
        """Whether it works here; never raises."""
        ...

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph | None:
        """The compiled pass, or None to leave it as it is; may raise anything, and then the pass runs eagerly."""
        ...


class RunningBackend(Protocol):
    """A backend with processes of its own, which may end when nobody looks."""

    def begin(self) -> None:
        """A run begins: a process that ended since the last one is no loss, and another takes its place."""
        ...


class RefreshableGraph(Protocol):
    """A graph that holds weights of its own."""

    def refresh(self, module: nn.Module) -> None:
        """Take the weights anew from the module that it was compiled from."""
        ...


class RestingGraph(RefreshableGraph, Protocol):
    """One that holds the model's own tensors, which a host that moves models would not get back."""

    def rest(self) -> None:
        """Let go of them; `refresh` comes before the next call."""
        ...
