"""Hands out compiled splits and keeps them for as long as the compiler lives, so that runs share graphs."""

from __future__ import annotations

import threading
from typing import Any, cast

from torch import nn

from ..errors import BackendError, OptionError
from .backend import SHARED, Backend, CompileOptions, RunningBackend
from .backends import new_backend
from .calls import CompiledCalls
from .counters import CompileCounters
from .decoder import CompiledDecoder, TemporalDecode
from .diffusers_cuts import DiffusersCuts
from .eager import EagerBackend
from .graphs import OnCompile
from .identity import unet_identity
from .ldm_cuts import LdmCuts
from .model_options import Undo, set_model_options
from .placement import with_gradients, without_gradients
from .split import CompiledSplit
from .store import GraphStore


class Compiler:
    """Makes the splits of `attach` and `speed_up` with a backend: `speed_up(pipe, options, split=Compiler("aot"))`.

    Graphs are made at the first call of each pass, branch and shape, or ahead by a run of the pipeline with these
    shapes. `on_compile` is told of each as it begins, with None, and as it ends, with its seconds. `host` is what code
    depends on besides the model and its package, such as switches of the program that runs it. Threads may share a
    compiler: they take turns, each for a whole pass.

    Raises:
        OptionError: if there is no such backend, or it does not honour an option, `verify` of "eager" among them.
        BackendError: if the backend cannot be used here, with the reason.
    """

    def __init__(
        self,
        backend: str | Backend = "inductor",
        options: CompileOptions | None = None,
        *,
        store: GraphStore | None = None,
        on_compile: OnCompile | None = None,
        host: str = "",
    ) -> None:
        given = not isinstance(backend, str) and hasattr(backend, "compile")
        self.backend: Backend = cast(Backend, backend) if given else new_backend(str(backend), store)
        self.options = CompileOptions() if options is None else options
        self.counters = CompileCounters()
        self.on_compile = on_compile
        self._host = host
        self._splits: dict[tuple[int, tuple[int, ...]], CompiledSplit] = {}
        self._calls: dict[tuple[int, str], CompiledCalls] = {}
        self._decoders: dict[int, CompiledDecoder] = {}
        self._undo: list[Undo] = []
        self._turn = threading.RLock()
        self._check()

    @property
    def copies_weights(self) -> bool:
        """Whether graphs hold weights of their own, which are those of the latest full pass."""
        return bool(getattr(self.backend, "copies_weights", False))

    def __call__(self, unet: Any, branches: tuple[int, ...]) -> CompiledSplit:
        """The split of a UNet, of diffusers' kind or of ldm's, at these branches.

        Raises:
            BranchError, UnsupportedModelError: as `DiffusersUNetSplit` and `LdmUNetSplit`.
            OptionError, BackendError: if the UNet cannot be switched as the options ask.
        """
        key = (id(unet), tuple(sorted(set(branches))))  # the split keeps the UNet alive, so that its id stays its own
        with self._turn:
            if hasattr(self.backend, "begin"):
                cast(RunningBackend, self.backend).begin()
            if key not in self._splits:
                self._splits[key] = self._new_split(unet, key[1])
            return self._splits[key]

    def _new_split(self, unet: Any, branches: tuple[int, ...]) -> CompiledSplit:
        # the cuts refuse what cannot be cut before the UNet is switched
        cuts = LdmCuts(unet, branches) if hasattr(unet, "output_blocks") else DiffusersCuts(unet, branches)
        if not any(known == id(unet) for known, _ in self._splits):
            self._undo += set_model_options(unet, self.options)
        return CompiledSplit(
            unet,
            branches,
            cuts=cuts,
            backend=self.backend,
            options=self.options,
            counters=self.counters,
            model=lambda: unet_identity(unet, self._host),
            turn=self._turn,
            on_compile=self.on_compile,
        )

    def calls(self, module: nn.Module, method: str = "__call__", *, name: str) -> CompiledCalls:
        """A method of a module that is not a UNet, called as the method itself; `name` is for people.

        Raises:
            OptionError: if the options ask for what is of UNets only.
        """
        for option in ("regional", "channels_last", "fused_qkv"):
            if getattr(self.options, option):
                raise OptionError(f"{option} is for UNets, and not for a {type(module).__name__}; leave it out")
        with self._turn:
            key = (id(module), method)  # the calls keep the module alive, so that its id stays its own
            if key not in self._calls:
                asking = without_gradients(module)
                self._undo.append(lambda: with_gradients(asking))
                self._calls[key] = self._new_calls(module, method, name=name)
            return self._calls[key]

    def _new_calls(self, module: nn.Module, method: str, *, name: str, gives_tensor: bool = False) -> CompiledCalls:
        return CompiledCalls(
            module,
            method=method,
            name=name,
            gives_tensor=gives_tensor,
            host=self._host,
            backend=self.backend,
            options=self.options,
            counters=self.counters,
            turn=self._turn,
            on_compile=self.on_compile,
        )

    def decoder(self, vae: Any) -> Any:
        """The decoder of an `AutoencoderKLTemporalDecoder`, called as its `decode`.

        With `regional`, which is for a quick start, it is the VAE's own.
        """
        if self.options.regional:
            return vae.decode
        with self._turn:
            if id(vae) not in self._decoders:  # the decoder keeps its VAE alive, so that its id stays its own
                decode = TemporalDecode(vae.decoder)
                calls = self._new_calls(decode, "__call__", name="decoder", gives_tensor=True)
                self._decoders[id(vae)] = CompiledDecoder(vae, calls)
            return self._decoders[id(vae)]

    def rest(self) -> None:
        """Hold none of the models' weights until the next pass, so that a host may move them; graphs stay."""
        with self._turn:
            kept: list[CompiledSplit | CompiledCalls] = [*self._splits.values(), *self._calls.values()]
            for one in kept:
                one.rest()

    def clear(self) -> None:
        """Let go of all graphs and of the UNets that they are of, whose own options are as they were before."""
        with self._turn:
            self._splits.clear()
            self._calls.clear()
            self._decoders.clear()
            while self._undo:
                self._undo.pop()()

    def _check(self) -> None:
        default = CompileOptions()
        if not isinstance(self.options, CompileOptions):
            raise OptionError(f"options must be CompileOptions, got {self.options!r}")
        taken = self.backend.supports | SHARED
        if isinstance(self.backend, EagerBackend):
            taken -= {"verify"}
        if self.options.verify and "verify" not in taken:
            raise OptionError(
                "verify compares graphs with eager passes, and the eager backend makes none; "
                "leave verify out or choose another backend"
            )
        for name in vars(default):
            asked = getattr(self.options, name) != getattr(default, name)
            if asked and name not in taken:
                raise OptionError(
                    f"{name} is not for the {self.backend.name} backend, which takes {', '.join(sorted(taken))}"
                )
        available = self.backend.available()
        if not available.ok:
            raise BackendError(f"the {self.backend.name} backend cannot be used here: {available.detail}")
