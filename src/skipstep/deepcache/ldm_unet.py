"""DeepCache split of the ldm `UNetModel` as ComfyUI runs it (SD1.x, SD2.x, SDXL, SVD).

No forward code is copied: both passes are the UNet's own `_forward`, the full one with one more of the patches that it
offers, the reuse pass over a view of the UNet. Skips are numbered in the order that the input blocks make them, so
branch b cuts where `DiffusersUNetSplit` cuts at b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from ..errors import BranchError, UnsupportedModelError
from ._view import FeatureSlot, module_view

OutputPatch = Callable[[Tensor, Tensor, dict[str, Any]], tuple[Tensor, Tensor]]
_TRANSFORMER = "SpatialTransformer"  # the class, or a base of it, that the UNet counts in `transformer_index`


def count_ldm_skips(unet: Any) -> int:
    """How many skip connections the UNet has: branches are 0 to this number less one.

    Raises:
        UnsupportedModelError: if `unet` lacks input, middle or output blocks, or has more of one end than the other.
    """
    if hasattr(unet, "_orig_mod"):
        raise UnsupportedModelError(
            "the UNet is already compiled with torch.compile, which froze its pass; cut it before compiling"
        )
    made, used = getattr(unet, "input_blocks", None), getattr(unet, "output_blocks", None)
    if (
        not isinstance(made, nn.ModuleList)
        or not isinstance(used, nn.ModuleList)
        or not isinstance(getattr(unet, "middle_block", None), nn.Module)
        or not hasattr(unet, "_forward")
    ):
        raise UnsupportedModelError(
            f"{type(unet).__name__} has no input_blocks, middle_block and output_blocks; skipstep cuts UNets "
            "(SD1.x, SD2.x, SDXL, SVD and their fine-tunes)"
        )
    if len(made) != len(used):
        raise UnsupportedModelError(
            f"{type(unet).__name__} makes {len(made)} skips on the way down and uses {len(used)} on the way up"
        )
    return len(used)


_ARGUMENTS = ("x", "timesteps", "context", "y", "control", "transformer_options")  # in the order of the forward


class LdmUNetSplit:
    """Full and reuse pass of an ldm `UNetModel` cut at skip `branch`.

    Calls take what `UNetModel.forward` takes, and write to none of it. Patches and ControlNet residuals of the blocks
    that a reuse pass leaves out are in the features already. Nothing is attached to the UNet, and no tensor is held
    between calls. Wrappers of the diffusion model are not run here: they belong around the call.

    Raises:
        BranchError: if the UNet has no such skip.
        UnsupportedModelError: if the UNet cannot be cut.
    """

    def __init__(self, unet: Any, branch: int) -> None:
        skips = count_ldm_skips(unet)
        if not 0 <= branch < skips:
            raise BranchError(
                f"branch must be 0..{skips - 1} for this UNet ({skips} skips), got {branch}; 0 is fastest"
            )
        self.unet = unet
        self.branch = branch
        self._first = skips - 1 - branch  # output block of the cut
        self._slot = FeatureSlot()
        self._shallow: Any = module_view(
            unet,
            input_blocks=unet.input_blocks[: branch + 1],
            middle_block=nn.ModuleList([self._slot]),
            output_blocks=unet.output_blocks[self._first :],
        )
        deep = [*unet.input_blocks[branch + 1 :], unet.middle_block, *unet.output_blocks[: self._first]]
        self._transformers = sum(_is_transformer(layer) for block in deep for layer in block)

    @property
    def shallow(self) -> Any:
        """The view of the UNet that reuse passes run."""
        return self._shallow

    def full(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The UNet's own output and the deep features (batch, channels, height, width) at the cut.

        For video they are (batch * frames, channels, height, width).
        """
        output, features = _tapped(self.unet, {self._first: self.branch}, ldm_call(args, kwargs))
        return output, features[self.branch]

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The UNet's output if its deep features were `features`, which is not written to."""
        return self.reuse_through(self._shallow, features, self.reuse_call(args, kwargs))

    def reuse_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a UNet call that are left for `shallow`, by name."""
        inputs = ldm_call(args, kwargs)
        control = inputs["control"]
        if control is not None:
            output = list(control.get("output") or ())[: self.branch + 1]
            inputs["control"] = {**control, "middle": [], "output": output}
        return inputs

    def reuse_through(self, shallow: Any, features: Tensor, inputs: dict[str, Any]) -> Tensor:
        """A reuse pass over `shallow` or a view of it, which has the same place for features."""
        self._slot.features = features
        try:
            made: Tensor = shallow._forward(**_patched(inputs, self._renumber, without=("middle_block_after_patch",)))
        finally:
            self._slot.features = None
        return made

    def _renumber(self, h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Tell patches that go by a block's number, or a transformer's, which one this is in the whole UNet."""
        _, position = options["block"]
        if position == 0:
            options["transformer_index"] += self._transformers
        options["block"] = ("output", position + self._first)
        return h, skip


class LdmMixedSplit:
    """Full passes that keep the deep features of several branches, and a reuse pass for each.

    Raises:
        BranchError, UnsupportedModelError: as `LdmUNetSplit`.
    """

    def __init__(self, unet: Any, branches: Iterable[int]) -> None:
        self.unet = unet
        self.branches = tuple(sorted(set(branches)))
        self._cuts = {branch: LdmUNetSplit(unet, branch) for branch in self.branches}
        self._taps = {cut._first: branch for branch, cut in self._cuts.items()}

    def full(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[int, Tensor]]:
        """The UNet's own output and the deep features (batch, channels, height, width) of every branch."""
        return self.full_through(self.unet, ldm_call(args, kwargs))

    def full_through(self, unet: Any, inputs: dict[str, Any]) -> tuple[Tensor, dict[int, Tensor]]:
        """The same of the UNet or of a view of it, for arguments by name."""
        return _tapped(unet, self._taps, inputs)

    def at(self, branch: int) -> LdmUNetSplit:
        """The cut at one of the branches."""
        return self._cuts[branch]


def ldm_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call of an ldm UNet by name."""
    return {"control": None, **dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}


def _patched(inputs: dict[str, Any], first: OutputPatch, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same call with one more output block patch ahead of all others; nothing given is written to."""
    options = dict(inputs.get("transformer_options") or {})
    patches = {name: listed for name, listed in options.get("patches", {}).items() if name not in without}
    patches["output_block_patch"] = [first, *patches.get("output_block_patch", [])]
    control = inputs["control"]
    if control is not None:  # the UNet takes the residuals out of the lists
        control = {name: list(residuals) for name, residuals in control.items()}
    return {**inputs, "transformer_options": {**options, "patches": patches}, "control": control}


def _tapped(unet: Any, taps: dict[int, int], inputs: dict[str, Any]) -> tuple[Tensor, dict[int, Tensor]]:
    """A whole call, and the features ahead of some output blocks under the branches that `taps` names them."""
    features: dict[int, Tensor] = {}

    def tap(h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        branch = taps.get(options["block"][1])
        if branch is not None:
            features[branch] = h.clone()  # patches after this one may write in place (FreeU does)
        return h, skip

    return unet._forward(**_patched(inputs, tap)), features


def _is_transformer(layer: Any) -> bool:
    return any(base.__name__ == _TRANSFORMER for base in type(layer).__mro__)
