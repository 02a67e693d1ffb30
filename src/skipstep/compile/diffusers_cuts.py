"""Calls of a diffusers UNet as inputs of its passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..deepcache import DiffusersUNetSplit, tapped_cuts
from .passes import FullPass, ReusePass
from .signature import CallTree, on_one_device
from .unet_cuts import PassCall


class DiffusersCuts:
    """`UNetCuts` of a diffusers UNet.

    Raises:
        BranchError, UnsupportedModelError: as `DiffusersUNetSplit`.
    """

    def __init__(self, unet: Any, branches: tuple[int, ...]) -> None:
        self._unet = unet
        self._branches = branches
        self._output_class: Callable[[Tensor], Any] | None = None
        self.cut()

    def cut(self) -> None:
        """Cut the UNet anew, since it was changed."""
        self._taps = tapped_cuts(self._unet, self._branches)
        self._cuts = {branch: DiffusersUNetSplit(self._unet, branch) for branch in self._branches}

    def weights_changed(self) -> None:
        """Take note that tensors of the UNet were replaced; nothing here depends on them."""

    def full(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PassCall:
        """A full pass, which gives the output and the features of each branch, in order."""
        cut = self._taps[-1]
        args, kwargs = cut.before(args, kwargs)
        inputs, finish = self._prepared(cut, cut.named(args, kwargs))
        return PassCall(
            name="full pass",
            branches=self._branches,
            inputs=inputs,
            sample=inputs["sample"],
            make=lambda tree: FullPass(self._taps, tree),
            finish=finish,
        )

    def reuse(self, branch: int, features: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PassCall:
        """A reuse pass, which gives the output."""
        cut = self._cuts[branch]
        args, kwargs = cut.before((), cut.reuse_inputs(features, args, kwargs))
        inputs, finish = self._prepared(cut, cut.named(args, kwargs))
        return PassCall(
            name=f"reuse pass at branch {branch}",
            branches=(branch,),
            first=(features,),
            inputs=inputs,
            sample=inputs["sample"],
            make=lambda tree: ReusePass(cut, tree),
            finish=finish,
        )

    def _prepared(
        self, cut: DiffusersUNetSplit, named: dict[str, Any]
    ) -> tuple[dict[str, Any], Callable[[Tensor], Any]]:
        inputs = {**on_one_device(named), "return_dict": False}
        wrap = self._container(named, inputs)
        return inputs, lambda output: cut.after(wrap(output))

    def _container(self, named: dict[str, Any], inputs: dict[str, Any]) -> Callable[[Tensor], Any]:
        """What the UNet puts its output into: a tuple, or its own class where `return_dict` is not False."""
        if not named.get("return_dict", True):
            return lambda output: (output,)
        if self._output_class is None:  # known only from an output; the UNet empties the lists that it is given
            tree, tensors = CallTree.of((), inputs)
            self._output_class = type(self._taps[0].tapped(**{**tree.rebuild(tensors)[1], "return_dict": True}))
            self._taps[0].take()
        return self._output_class
