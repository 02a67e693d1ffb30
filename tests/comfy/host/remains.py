"""What is left in memory, and on a model, when a run is over."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

from skipstep.deepcache.storage import FeatureStore

if TYPE_CHECKING:
    import pytest
    import torch


class Remains:
    """Looks for what may be left of runs: features, and objects of ours."""

    def __init__(self) -> None:
        self.features: list[Any] = []
        self.objects: list[Any] = []

    def check(self, model: Any) -> None:
        """Nothing is left, in memory or on a ModelPatcher."""
        gc.collect()
        assert self.features
        assert self.objects
        left = [thing for thing in (reference() for reference in self.features + self.objects) if thing is not None]
        assert left == []
        assert "skipstep" not in model.model_options["transformer_options"]

    def watch_features(self, patch: pytest.MonkeyPatch) -> None:
        """See every tensor of features that is stored."""
        put = FeatureStore.put

        def watched(store: FeatureStore, tensor: torch.Tensor) -> Any:
            place = put(store, tensor)
            self.features += [weakref.ref(tensor), weakref.ref(place)]
            return place

        patch.setattr(FeatureStore, "put", watched)

    def watch(self, patch: pytest.MonkeyPatch, kind: type) -> None:
        """See every new object of a class."""
        begin = kind.__init__

        def watched(made: Any, *args: Any, **kwargs: Any) -> None:
            self.objects.append(weakref.ref(made))
            begin(made, *args, **kwargs)

        patch.setattr(kind, "__init__", watched)
