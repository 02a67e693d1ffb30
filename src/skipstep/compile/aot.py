"""AOTInductor: each pass as a package on disk, loaded in seconds by the next process."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._upstream import without_torch_warnings
from .backend import Availability, Graph, PassSpec
from .inductor import inductor_availability, inductor_settings
from .store import GraphStore

# a static package reads any input as if it were of the shape that it was compiled for; with this torch checks
_CHECK_INPUTS = "AOTI_RUNTIME_CHECK_INPUTS"
# torch would write tensors of up to 8 numbers into the code, such as the bias of `conv_out`, and fold those of one
_ALL_WEIGHTS_OUTSIDE = {
    "aot_inductor.package_constants_in_so": False,
    "always_keep_tensor_constants": True,
    "joint_graph_constant_folding": False,
}
_FINGERPRINT, _STRIDES = "skipstep_fingerprint", "skipstep_strides"  # notes inside the package


class AOTBackend:
    """Packages hold code only: weights stay the model's own tensors, shared."""

    name = "aot"
    supports = frozenset({"max_autotune"})

    def __init__(self, store: GraphStore) -> None:
        self._store = store

    def available(self) -> Availability:
        """Whether Inductor can generate code here."""
        return inductor_availability()

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        """The package of this fingerprint, made if there is none that loads."""
        name = f"aot-{spec.fingerprint}.pt2"
        with self._store.lock(name):
            graph = self._store.load(name, lambda path: _Package(path, module, spec))
            if graph is not None:
                spec.counters.loads += 1
                return graph
            with self._store.making(name) as folder:
                made = _package(module, spec, folder)
                graph = _Package(made, module, spec)
                self._store.put(name, made, title=spec.name)
            spec.counters.compiles += 1
            return graph


class _Package:
    """A loaded package on a model's weights.

    Raises:
        ValueError: if the package is of another pass or model, whatever its file is called.
    """

    def __init__(self, path: Path, module: nn.Module, spec: PassSpec) -> None:
        os.environ.setdefault(_CHECK_INPUTS, "1")
        self._run: Any = torch._inductor.aoti_load_package(str(path))
        notes = self._run.get_metadata()
        if notes.get(_FINGERPRINT) != spec.fingerprint:
            raise ValueError(f"the package is not of this {spec.name}")
        self._strides = [tuple(strides) for strides in json.loads(notes[_STRIDES])]
        self.refresh(module)

    def refresh(self, module: nn.Module) -> None:
        """Use the module's present tensors."""
        names = self._run.get_constant_fqns()
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        missing = [name for name in names if name not in own]
        if missing:
            raise ValueError(f"the package has constants that the model has not: {', '.join(missing[:3])}")
        # the package keeps pointers only, so the tensors have to outlive it
        self._weights: dict[str, Tensor] = {name: own[name].detach() for name in names}
        self._run.load_constants(self._weights, check_full_update=True, user_managed=True)

    def rest(self) -> None:
        """Let go of the module's tensors; not to be called before `refresh`."""
        self._weights = {}

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._run(*map(_laid_out, tensors, self._strides)))


def _laid_out(tensor: Tensor, strides: tuple[int, ...]) -> Tensor:
    """The tensor in the layout that the package was compiled for; features come from other code in others."""
    if tensor.stride() == strides:
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _package(module: nn.Module, spec: PassSpec, folder: Path) -> Path:
    """Export, compile and package into `folder`."""
    exported = torch.export.export(module, spec.example, strict=False)
    settings = {**inductor_settings(spec.options), **_ALL_WEIGHTS_OUTSIDE}
    strides = json.dumps([tensor.stride() for tensor in spec.example])
    settings["aot_inductor.metadata"] = {_FINGERPRINT: spec.fingerprint, _STRIDES: strides}
    with without_torch_warnings():
        made = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(folder / "graph.pt2"), inductor_configs=settings
        )
    return Path(shutil.move(made, folder / "made.pt2"))
