"""Emulators: smaller models on which a large one's outer layers are trained.

Offsite-tuning (Xiao et al. 2023, arXiv:2302.04870), and CRaSh (Zhang et al. 2023, arXiv:2310.15477).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import nn

from ...errors import OptionError
from ..loop import Batch
from .composition import Composition, dropping, middle_layers, outer_layers, sharing
from .features import pooled_features
from .importance import block_influence
from .layers import decoder_layers
from .selection import keep_centres, keep_influential, keep_uniform
from .similarity import layer_similarity
from .views import layered_view

Selection = Literal["influence", "uniform", "cka"]
Removal = Literal["drop", "share"]
KEPT_SHARE = 2 / 3


class Emulator:
    """A causal LM that runs a composition of a full model's layers; `model` is used as any of transformers.

    Frozen weights are the full model's own memory, trained layers are copies, and the full model stays as it is.

    Raises:
        OptionError: if the composition is of another number of layers.
        AdapterError: if the model's layers cannot be found or numbered.
    """

    def __init__(self, full: Any, composition: Composition) -> None:
        total = len(decoder_layers(full))
        if composition.total != total:
            raise OptionError(f"the composition is of {composition.total} layers and the model has {total}")
        self.composition = composition
        self.model = layered_view(full, composition)

    def trained_layers(self) -> dict[int, nn.Module]:
        """The layers to train, by their number in the full model."""
        layers = decoder_layers(self.model)
        return {number: layers[self.composition.slots.index(number)] for number in self.composition.trained}

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters of these layers."""
        return [parameter for layer in self.trained_layers().values() for parameter in layer.parameters()]


def propose(
    full: Any,
    texts: Iterable[Batch],
    *,
    trained: Sequence[int] | None = None,
    keep: int | None = None,
    selection: Selection = "influence",
    removed: Removal = "drop",
) -> Composition:
    """A composition that keeps the `keep` middle layers that the model's reading of `texts` speaks for.

    By default two layers at either end are trained, and two thirds of the others kept.
    "influence" keeps those that change their input most, "cka" the centres of clusters of like neighbours, and
    "uniform" reads nothing. Removed layers are dropped, or the nearest kept one runs in their place.

    Raises:
        OptionError: for another selection or removal, or more layers than there are.
    """
    if removed not in ("drop", "share"):
        raise OptionError(f"removed must be drop or share, got {removed!r}")
    total = len(decoder_layers(full))
    trained = outer_layers(total) if trained is None else trained
    middle = middle_layers(total, trained)
    keep = max(round(len(middle) * KEPT_SHARE), 1) if keep is None else keep
    if selection == "influence":
        kept = keep_influential(middle, keep, block_influence(full, texts))
    elif selection == "cka":
        kept = keep_centres(middle, keep, layer_similarity(pooled_features(full, texts)))
    elif selection == "uniform":
        kept = keep_uniform(middle, keep)
    else:
        raise OptionError(f"selection must be influence, uniform or cka, got {selection!r}")
    compose = sharing if removed == "share" else dropping
    return compose(total, trained=trained, kept=kept)
