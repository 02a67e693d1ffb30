"""Hands out compiled splits and keeps them for as long as the compiler lives, so that runs share graphs."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, cast

from .. import __version__
from ..errors import BackendError, MissingExtraError, OptionError, OutputError
from ..plan import fingerprint
from .aot import AOTBackend
from .backend import SHARED, Availability, Backend, CompileOptions
from .counters import CompileCounters
from .decoder import CompiledDecoder
from .eager import EagerBackend
from .graphs import OnCompile
from .inductor import InductorBackend
from .model_options import Undo, set_model_options
from .onediff import OneDiffBackend
from .openvino import OpenVINOBackend
from .signature import digest
from .split import CompiledSplit
from .store import GraphStore, default_store

BACKENDS = ("eager", "inductor", "aot", "openvino", "onediff")


def new_backend(name: str, store: GraphStore | None = None) -> Backend:
    """A backend by name; `store` is where those that keep graphs on disk keep them.

    Raises:
        OptionError: naming the backends, if there is none of that name.
    """
    if name not in BACKENDS:
        raise OptionError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    if name in ("aot", "openvino"):
        kept = default_store() if store is None else store
        return AOTBackend(kept) if name == "aot" else OpenVINOBackend(kept)
    plain: dict[str, type[Any]] = {"eager": EagerBackend, "inductor": InductorBackend, "onediff": OneDiffBackend}
    made: Backend = plain[name]()
    return made


def available_backends() -> dict[str, Availability]:
    """Which backends can be used here, and why not."""
    return {name: _available(name) for name in BACKENDS}


def _available(name: str) -> Availability:
    try:
        return new_backend(name).available()
    except (MissingExtraError, OutputError) as error:  # no folder to keep its graphs in
        return Availability(False, str(error))


class Compiler:
    """Makes the splits of `attach` and `speed_up` with a backend: `speed_up(pipe, options, split=Compiler("aot"))`.

    Graphs are made at the first call of each pass, branch and shape, or ahead by a run of the pipeline with these
    shapes. `on_compile` is told of each as it begins, with None, and as it ends, with its seconds. Threads may share a
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
    ) -> None:
        given = not isinstance(backend, str) and hasattr(backend, "compile")
        self.backend: Backend = cast(Backend, backend) if given else new_backend(str(backend), store)
        self.options = CompileOptions() if options is None else options
        self.counters = CompileCounters()
        self.on_compile = on_compile
        self._splits: dict[tuple[int, tuple[int, ...]], CompiledSplit] = {}
        self._decoders: dict[int, CompiledDecoder] = {}
        self._undo: list[Undo] = []
        self._turn = threading.RLock()
        self._check()

    def __call__(self, unet: Any, branches: tuple[int, ...]) -> CompiledSplit:
        """The split of a diffusers UNet at these branches.

        Raises:
            BranchError, UnsupportedModelError: as `DiffusersUNetSplit`.
            OptionError, BackendError: if the UNet cannot be switched as the options ask.
        """
        key = (id(unet), tuple(sorted(set(branches))))  # the split keeps the UNet alive, so that its id stays its own
        with self._turn:
            if key not in self._splits:
                self._splits[key] = self._new_split(unet, key[1])
            return self._splits[key]

    def _new_split(self, unet: Any, branches: tuple[int, ...]) -> CompiledSplit:
        split = CompiledSplit(  # refuses what cannot be cut before the UNet is switched
            unet,
            branches,
            backend=self.backend,
            options=self.options,
            counters=self.counters,
            model=lambda: _identity(unet),
            turn=self._turn,
            on_compile=self.on_compile,
        )
        if not any(known == id(unet) for known, _ in self._splits):
            self._undo += set_model_options(unet, self.options)
        return split

    def decoder(self, vae: Any) -> Any:
        """The decoder of an `AutoencoderKLTemporalDecoder`, called as its `decode`.

        With `regional`, which is for a quick start, it is the VAE's own.
        """
        if self.options.regional:
            return vae.decode
        with self._turn:
            if id(vae) not in self._decoders:  # the decoder keeps the VAE alive, so that its id stays its own
                self._decoders[id(vae)] = CompiledDecoder(
                    vae,
                    backend=self.backend,
                    options=self.options,
                    counters=self.counters,
                    turn=self._turn,
                    on_compile=self.on_compile,
                )
            return self._decoders[id(vae)]

    def clear(self) -> None:
        """Let go of all graphs and of the UNets that they are of, whose own options are as they were before."""
        with self._turn:
            self._splits.clear()
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


def _identity(unet: Any) -> str:
    """What the code of a graph follows from besides the traced module: the UNet's configuration, and the packages."""
    host = sys.modules[type(unet).__module__.partition(".")[0]]
    settings = {key: value for key, value in dict(unet.config).items() if not key.startswith("_")}
    configuration = json.dumps(settings, sort_keys=True, default=str)
    return digest(fingerprint(unet).topology, configuration, __version__, getattr(host, "__version__", ""))
