"""Puts gated modules into a model and takes them out again."""

from __future__ import annotations

from types import TracebackType

from torch import nn

from ...errors import AdapterError, AttachError
from .layer import GatedLinear
from .state import SoraState


def attach(model: nn.Module, state: SoraState) -> AttachedSora:
    """Wrap the modules that `state` names and freeze all other parameters, until `detach`.

    Raises:
        AttachError: if SoRA is attached already.
        AdapterError: if a module is not there, is not linear, or has other sizes; nothing is changed then.
    """
    if any(isinstance(module, GatedLinear) for module in model.modules()):
        raise AttachError("SoRA is attached to this model already; detach that first")
    linears = {name: _fitting_linear(model, name, state) for name in sorted(state.modules)}
    return AttachedSora(model, linears, state)


class AttachedSora:
    """SoRA on a model: its parameters, its state, and the way back; also a context manager that detaches.

    Modules go by name, so that the parameters' order is the same whether a state was made or read from a file.
    """

    def __init__(self, model: nn.Module, linears: dict[str, nn.Linear], state: SoraState) -> None:
        self.model = model
        self.scale = state.scale
        self._linears = linears
        self._trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        self._attached = True
        model.requires_grad_(False)
        self.modules = {name: GatedLinear(linear, state.modules[name], state.scale) for name, linear in linears.items()}
        for name, module in self.modules.items():
            _put(model, name, module)

    def gates(self) -> list[nn.Parameter]:
        """The gate of each module, (rank,)."""
        return [module.gate for module in self.modules.values()]

    def matrices(self) -> list[nn.Parameter]:
        """`down` and `up` of each module."""
        return [matrix for module in self.modules.values() for matrix in (module.down, module.up)]

    def state(self) -> SoraState:
        """A copy of what was learned so far."""
        return SoraState(modules={name: module.factors() for name, module in self.modules.items()}, scale=self.scale)

    def detach(self) -> None:
        """Put the model's own modules back, and its parameters to what they were: trainable or not.

        A second call does nothing.

        Raises:
            AttachError: if another adapter was put over this one meanwhile; nothing is changed then.
        """
        if not self._attached:
            return
        for name, module in self.modules.items():
            if self.model.get_submodule(name) is not module:
                raise AttachError(f"{name} was replaced after SoRA was attached; take the later adapter off first")
        for name, linear in self._linears.items():
            _put(self.model, name, linear)
        for parameter, was in self._trainable:
            parameter.requires_grad_(was)
        self._attached = False

    def __enter__(self) -> AttachedSora:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def _fitting_linear(model: nn.Module, name: str, state: SoraState) -> nn.Linear:
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise AdapterError(f"the model has no module {name}; the adapter is for another model") from error
    if not isinstance(module, nn.Linear):
        raise AdapterError(f"{name} is a {type(module).__name__}; SoRA adapts linear modules only")
    factors = state.modules[name]
    wanted, found = (module.out_features, module.in_features), (factors.up.shape[0], factors.down.shape[1])
    if wanted != found:
        raise AdapterError(f"{name} is {wanted[0]} x {wanted[1]} and the adapter's {found[0]} x {found[1]}")
    return module


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
