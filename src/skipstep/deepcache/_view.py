"""Views of a module: same weights, other children."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn


def module_view(module: nn.Module, **children: nn.Module | None) -> Any:
    """A module that shares `module`'s class, parameters, buffers, hooks and code, with `children` in place of its own.

    The original is not changed. Where children are replaced, an instance-level `forward` (accelerate sets one) stays
    behind, since it is bound to the original's children.
    """
    view = module.__class__.__new__(module.__class__)
    view.__dict__ = dict(module.__dict__)
    view._modules = {**module._modules, **children}
    if children:
        view.__dict__.pop("forward", None)
    return view


def bare_view(module: nn.Module) -> Any:
    """A view of a module and of all below it that runs no hooks and no instance-level `forward`."""
    view = module_view(module, **{name: child and bare_view(child) for name, child in module._modules.items()})
    for name in ("forward", "_hf_hook"):  # accelerate's
        view.__dict__.pop(name, None)
    for name in [name for name in view.__dict__ if "_hooks" in name and "forward" in name]:
        view.__dict__[name] = OrderedDict()
    return view


class FeatureSlot(nn.Module):
    """Stands where the deep blocks were and returns what was put in it.

    It returns a clone: blocks after it may write in place (FreeU does), and the stored features outlive the call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The features, cloned; all arguments are ignored."""
        assert self.features is not None, "FeatureSlot read before it was filled"
        return self.features.clone()


class FeatureTap:
    """A view of a module that keeps a clone of each output, for who comes to take it.

    It clones before the next block sees the tensor, since that block may write in place (FreeU does).
    """

    def __init__(self, source: nn.Module) -> None:
        self._features: Tensor | None = None
        self.view = module_view(source)
        self.view._forward_hooks = OrderedDict(source._forward_hooks)
        self.view._forward_hooks_with_kwargs = OrderedDict(source._forward_hooks_with_kwargs)
        self.view._forward_hooks_always_called = OrderedDict(source._forward_hooks_always_called)
        self.view.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any, output: Any) -> None:
        self._features = (output[0] if isinstance(output, tuple) else output).clone()

    def take(self) -> Tensor:
        """The clone of the latest output, which is forgotten here."""
        features, self._features = self._features, None
        assert features is not None, "the tapped block did not run"
        return features
