"""OpenVINO: graphs for CPUs (and Intel GPUs), kept on disk."""

from __future__ import annotations

from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._upstream import without_torch_warnings
from .backend import Availability, Graph, PassSpec
from .signature import digest
from .store import GraphStore

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOBackend:
    """Compiles for the CPU with as many threads as torch has. Graphs hold copies of the weights."""

    name = "openvino"
    supports = frozenset({"precision"})
    copies_weights = True

    def __init__(self, store: GraphStore) -> None:
        self._store = store

    def available(self) -> Availability:
        """Whether the package is there."""
        try:
            import openvino
        except ImportError:
            return Availability(False, "OpenVINO is not installed: pip install 'skipstep[openvino]'")
        return Availability(True, f"openvino {openvino.__version__}")

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        """The graph of this fingerprint and these weights, made if there is none that loads."""
        if any(not tensor.is_cpu for tensor in spec.example):
            raise ValueError("OpenVINO graphs are for models on the CPU")
        if any(tensor.dtype == torch.bfloat16 for tensor in spec.example):
            raise ValueError("OpenVINO graphs take no bfloat16: load the UNet in float32 and set precision to bfloat16")
        return _Compiled(self._store, module, spec)


class _Compiled:
    """A graph and the weights that it was made of."""

    def __init__(self, store: GraphStore, module: nn.Module, spec: PassSpec) -> None:
        self._store, self._spec = store, spec
        self._run = self._load(module)
        spec.counters.weight_bytes += sum(weight.numel() * weight.element_size() for weight in module.parameters())

    def refresh(self, module: nn.Module) -> None:
        """Compile anew if the module's weights changed."""
        self._run = self._load(module)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        made = self._run([tensor.contiguous().numpy() for tensor in tensors], share_inputs=True)
        return tuple(torch.from_numpy(made[index].copy()) for index in range(len(made)))

    def _load(self, module: nn.Module) -> Any:
        import openvino

        spec = self._spec
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": _HINTS[spec.options.precision],
        }
        name = f"openvino-{digest(spec.fingerprint, openvino.__version__, _weights_digest(module), options)}.blob"
        with self._store.lock(name):
            loaded = self._store.load(name, lambda path: _imported(core, path, options))
            if loaded is None:
                loaded = core.compile_model(_converted(module, spec), "CPU", options)
                self._store.write(name, loaded.export_model().getvalue(), title=spec.name)
                spec.counters.compiles += 1
            else:
                spec.counters.loads += 1
        return loaded


def _imported(core: Any, path: Path, options: dict[str, Any]) -> Any:
    with path.open("rb") as file:
        # without the options a float32 graph computes in bfloat16 where the processor can
        return core.import_model(BytesIO(file.read()), "CPU", options)


def _converted(module: nn.Module, spec: PassSpec) -> Any:
    import openvino

    exported = torch.export.export(module, spec.example, strict=False)
    with without_torch_warnings():
        return openvino.convert_model(exported)


def _weights_digest(module: nn.Module) -> str:
    """Of every byte: a graph with another model's weights would draw another picture."""
    total = blake2b(digest_size=16)
    for name, parameter in sorted(module.named_parameters()):
        total.update(name.encode())
        total.update(parameter.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
