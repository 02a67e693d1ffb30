"""The models of a server: loaded when they are first needed, by the thread that runs them."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from skipstep.compile import Compiler, GraphStore, default_kernels
from skipstep.deepcache import CalibrationMemory, SplitMaker, live_split
from skipstep.engine.models import DEMO, DEMO_SD15, DEMO_SVD, FAMILIES, LoadedModel, load_model
from skipstep.engine.preview import PreviewMap
from skipstep.engine.svd_single_file import is_svd_file
from skipstep.engine.unet_loras import put_on
from skipstep.errors import OptionError, UnsupportedModelError

from .weights import check_weights

NO_COMPILER = "none"
Loras = tuple[tuple[str, float], ...]
_DEMOS = {DEMO: "sdxl", DEMO_SD15: "sd15", DEMO_SVD: "svd"}


@dataclass(kw_only=True)
class ServedModel:
    """A loaded model, and what is kept for as long as it is."""

    loaded: LoadedModel
    calibrations: CalibrationMemory = field(default_factory=CalibrationMemory)
    compilers: dict[str, Compiler] = field(default_factory=dict)
    fitting: dict[Hashable, int] = field(default_factory=dict)  # rows of a pass that fit into memory
    loras: Loras = ()
    store: GraphStore | None = None  # of compiled graphs; the user's if None
    _previews: PreviewMap | None = None

    def own(self) -> LoadedModel:
        """The model for one row: a pipeline of the same modules with a state of its own."""
        pipe = copy.copy(self.loaded.pipe)
        pipe.scheduler = copy.deepcopy(pipe.scheduler)
        return replace(self.loaded, pipe=pipe)

    def split(self, compiler: str) -> SplitMaker:
        """What makes the passes of its UNet.

        Raises:
            BackendError: if that compiler cannot be used here.
        """
        if compiler == NO_COMPILER:
            return live_split
        if compiler not in self.compilers:
            default_kernels().use()
            self.compilers[compiler] = Compiler(compiler, store=self.store)
        return self.compilers[compiler]

    def size_of(self, width: int | None, height: int | None, frames: int | None) -> tuple[int, int, int]:
        """A size with the model's own where it is None; pictures have no frames."""
        own = getattr(self.loaded.pipe.unet.config, "num_frames", 0)
        return width or self.loaded.size[0], height or self.loaded.size[1], frames or own

    @property
    def previews(self) -> PreviewMap:
        """What turns latents into previews."""
        if self._previews is None:
            self._previews = PreviewMap(self.loaded.pipe.vae)
        return self._previews

    def wear(self, loras: Loras, files: dict[str, str]) -> None:
        """Put these LoRAs on the model, in place of those that are.

        Raises:
            OptionError: if a file is refused, or is for another model.
        """
        if loras == self.loras:
            return
        pipe: Any = self.loaded.pipe
        if self.loras:
            pipe.unload_lora_weights()
        self.loras = ()
        put_on(pipe, [(Path(files[name]), scale) for name, scale in loras])
        self.loras = loras


def family_of(source: str) -> str:
    """The family of a model, from its files alone.

    Raises:
        OptionError: if there is no such file or folder.
        UnsupportedModelError: if it is of none that this service runs.
    """
    if source in _DEMOS:
        return _DEMOS[source]
    path = Path(source)
    check_weights(path)
    if path.is_file():
        return "svd" if is_svd_file(path) else "sdxl"
    try:
        kind = json.loads((path / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError) as error:
        raise OptionError(f"{source} is neither a demo, a diffusers folder nor a .safetensors file") from error
    if kind not in FAMILIES:
        raise UnsupportedModelError(f"{source} is a {kind}; this service runs {', '.join(FAMILIES)}")
    return FAMILIES[kind]


def load(source: str, *, device: str, dtype: str, store: GraphStore | None = None) -> ServedModel:
    """Load a model.

    Raises:
        as `skipstep.engine.load_model`.
    """
    loaded = load_model(source, device=device, dtype=dtype, families=(family_of(source),))
    return ServedModel(loaded=loaded, store=store)


class KeptModels:
    """Models by name, `most` at most: the one that was not used for longest goes before another is loaded.

    All but `let_go` is for the thread that runs them.
    """

    def __init__(self, load_named: Callable[[str], ServedModel], *, most: int | None) -> None:
        self._load = load_named
        self._most = most
        self._models: dict[str, ServedModel] = {}  # the one used last comes last
        self._unwanted: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def let_go(self, name: str) -> None:
        """Give its memory back before another is loaded, unless it is used meanwhile; may be called from any thread."""
        self._unwanted.add(name)

    def get(self, name: str) -> ServedModel:
        """A model, loaded if it is not.

        Raises:
            as `load`.
        """
        self._unwanted.discard(name)
        if name in self._models:
            self._models[name] = self._models.pop(name)
            return self._models[name]
        self._make_room()
        self._models[name] = self._load(name)
        return self._models[name]

    def _make_room(self) -> None:
        going = [name for name in self._models if name in self._unwanted]
        self._unwanted.clear()
        if self._most is not None:
            staying = [name for name in self._models if name not in going]
            going += staying[: max(0, len(staying) + 1 - self._most)]
        for name in going:
            del self._models[name]
        if going:
            gc.collect()
            torch.cuda.empty_cache()  # does nothing where there is no GPU
