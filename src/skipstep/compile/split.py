"""A split whose passes run as compiled graphs, one for each pass, branch and signature."""

from __future__ import annotations

import logging
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..deepcache import DiffusersUNetSplit, tapped_cuts
from ..errors import CompileFallbackWarning
from .backend import Backend, CompileOptions, Graph, PassSpec, RefreshableGraph
from .counters import CompileCounters
from .passes import FullPass, ReusePass
from .signature import CallTree, described, digest
from .verify import check_outputs
from .watch import ModelWatch, traced_state

log = logging.getLogger("skipstep.compile")
OnCompile = Callable[[str, float | None], None]  # what, and its seconds; None when it begins


@dataclass(slots=True)
class _Entry:
    name: str
    module: nn.Module
    graph: Graph | None  # None: this pass runs eagerly


class CompiledSplit:
    """Both passes of one UNet as graphs of a backend; `deepcache.UNetSplit` for one branch, `MixedSplit` for several.

    A call that cannot be compiled runs eagerly, and says so once. What is put on the UNet later (a LoRA, FreeU) is
    noticed at the next full pass, and both passes are compiled anew.
    """

    def __init__(
        self,
        unet: Any,
        branches: tuple[int, ...],
        *,
        backend: Backend,
        options: CompileOptions,
        counters: CompileCounters,
        model: Callable[[], str],
        on_compile: OnCompile | None = None,
    ) -> None:
        self.unet = unet
        self.branches = tuple(sorted(set(branches)))
        self._backend = backend
        self._options = options
        self._counters = counters
        self._model = model
        self._on_compile = on_compile
        self._output_class: Callable[[Tensor], Any] | None = None
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._cut()

    @property
    def branch(self) -> int:
        """The only branch, or the shallowest."""
        return self.branches[0]

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The UNet's output and the deep features: of the one branch, or a dictionary by branch."""
        self._follow_model()
        cut = self._taps[-1]
        args, kwargs = cut.before(args, kwargs)
        output, *features = self._run("full pass", lambda tree: FullPass(self._taps, tree), (), cut.named(args, kwargs))
        kept = dict(zip(self.branches, features, strict=True))
        return cut.after(output), kept if len(kept) > 1 else kept[self.branch]

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output if its deep features at the one branch were `features`."""
        return self._reuse(self.branch, features, *args, **kwargs)

    def at(self, branch: int) -> _Branch:
        """The reuse pass of one of the branches."""
        return _Branch(self, branch)

    def _reuse(self, branch: int, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        cut = self._cuts[branch]
        args, kwargs = cut.before((), cut.reuse_inputs(features, args, kwargs))
        kind = f"reuse pass at branch {branch}"
        (output,) = self._run(kind, lambda tree: ReusePass(cut, tree), (features,), cut.named(args, kwargs))
        return cut.after(output)

    def _cut(self) -> None:
        self._taps = tapped_cuts(self.unet, self.branches)
        self._cuts = {branch: DiffusersUNetSplit(self.unet, branch) for branch in self.branches}
        self._watch = ModelWatch(self.unet)

    def _follow_model(self) -> None:
        if self._watch.is_changed():
            if self._entries:
                log.warning("the UNet was changed (a LoRA, FreeU, attention); its passes are compiled anew")
            self._entries.clear()
            self._cut()
        elif self._watch.are_weights_changed():
            try:
                for entry in self._entries.values():
                    if hasattr(entry.graph, "refresh"):
                        self._refresh(entry)
            except BaseException:  # an interrupt must not leave graphs with the weights of before
                self._entries.clear()
                raise

    def _refresh(self, entry: _Entry) -> None:
        graph = cast(RefreshableGraph, entry.graph)
        try:
            graph.refresh(entry.module)
        except Exception as error:  # noqa: BLE001  as of compiling, which some graphs do here
            self._give_up(entry.name, error)
            entry.graph = None
        else:
            self._counters.refreshes += 1

    def _run(
        self, kind: str, make: Callable[[CallTree], nn.Module], first: tuple[Tensor, ...], named: dict[str, Any]
    ) -> Any:
        """Outputs of a pass, the UNet's own first, in the container that the caller wants."""
        call = {**_on_one_device(named), "return_dict": False}
        # in one order, or the same call by position and by name would be two graphs
        tree, tensors = CallTree.of((), dict(sorted(call.items())))
        wrap = self._container(named, lambda: tree.rebuild(tensors)[1])
        inputs = (*first, *tensors)
        key = (kind, tree.key, () if self._options.dynamic else described(inputs))
        entry = self._entries.get(key)
        if entry is None:
            name = f"{kind}, {' x '.join(map(str, named['sample'].shape))}"
            entry = self._entries[key] = self._compiled(name, make(tree), key, inputs)
            if len(self._entries) > self._options.max_graphs:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        output, *features = self._outputs(entry, inputs)
        return wrap(output), *features

    def _outputs(self, entry: _Entry, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if entry.graph is not None:
            try:
                outputs = entry.graph(*tensors)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001  dynamic graphs are traced again for some sizes
                self._give_up(entry.name, error)
                entry.graph = None
            else:
                self._counters.hits += 1
                return outputs
        self._counters.eager += 1
        made: tuple[Tensor, ...] = entry.module(*tensors)
        return made

    def _container(self, named: dict[str, Any], copied: Callable[[], dict[str, Any]]) -> Callable[[Tensor], Any]:
        """What the UNet puts its output into: a tuple, or its own class where `return_dict` is not False."""
        if not named.get("return_dict", True):
            return lambda output: (output,)
        if self._output_class is None:  # known only from an output; the UNet empties the lists that it is given
            self._output_class = type(self._taps[0].tapped(**{**copied(), "return_dict": True}))
            self._taps[0].take()
        return self._output_class

    def _compiled(self, name: str, module: nn.Module, key: Hashable, tensors: tuple[Tensor, ...]) -> _Entry:
        spec = PassSpec(
            name=name,
            fingerprint=digest(
                self._model(), traced_state(module), self.branches, key, self._options, _machine(tensors)
            ),
            example=tensors,
            options=self._options,
            counters=self._counters,
        )
        self._tell(f"{self._backend.name}: {name}", None)
        started = time.perf_counter()
        graph: Graph | None = None
        try:
            graph = self._backend.compile(module, spec)
            if self._options.verify:
                computed = torch.bfloat16 if self._options.precision == "bfloat16" else None
                check_outputs(module(*tensors), graph(*tensors), name, computed=computed)
        except Exception as error:  # noqa: BLE001  a compiler may fail in any way, and the picture must come
            graph = None
            self._give_up(name, error)
        seconds = time.perf_counter() - started
        self._counters.seconds += seconds
        self._tell(f"{self._backend.name}: {name}", seconds)
        return _Entry(name, module, graph)

    def _give_up(self, name: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
        self._counters.failures.append(f"{name}: {reason}")
        warnings.warn(
            f"{self._backend.name} could not compile the {name}, which runs eagerly: {reason}",
            CompileFallbackWarning,
            stacklevel=2,
        )

    def _tell(self, what: str, seconds: float | None) -> None:
        if seconds is None:
            log.info("compiling %s", what)
        else:
            log.info("%s ready after %.1f s", what, seconds)
        if self._on_compile is not None:
            self._on_compile(what, seconds)


@dataclass(frozen=True, slots=True)
class _Branch:
    split: CompiledSplit
    branch: int

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """Output and this branch's features."""
        output, features = self.split.full(*args, **kwargs)
        return output, features[self.branch] if isinstance(features, dict) else features

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output if its deep features at this branch were `features`."""
        return self.split._reuse(self.branch, features, *args, **kwargs)


def _on_one_device(named: dict[str, Any]) -> dict[str, Any]:
    """The timestep as a tensor beside the sample: as a number it would be a constant of the graph.

    Whole ones become float32, as the UNet itself makes them, so that samplers with and without whole timesteps share
    graphs.
    """
    sample, timestep = named["sample"], named["timestep"]
    if not isinstance(timestep, Tensor):
        timestep = torch.tensor(timestep, dtype=torch.float32)
    if not timestep.is_floating_point():
        timestep = timestep.float()
    return {**named, "timestep": timestep.to(sample.device)}


def _machine(tensors: tuple[Tensor, ...]) -> tuple[str, ...]:
    """What compiled code depends on besides the model."""
    for tensor in tensors:
        if tensor.is_cuda:
            return torch.__version__, torch.cuda.get_device_name(tensor.device)
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())
