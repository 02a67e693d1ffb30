"""What OneDiff 1.2.0 expects of OneFlow's nightly builds and OneFlow 0.9.0 has under another name, or not at all.

It asks for the nightlies of 2024, which are on no package index. Delete this with support for OneFlow 0.9.0.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def give_onediff_its_names() -> None:
    """Add the names, once; to be called before OneDiff is imported."""
    if "oneflow.framework.args_tree" in sys.modules:
        return
    import oneflow as flow
    import oneflow.sysconfig
    import torch

    _add_args_tree(flow, torch)
    _add_mock_torch()
    _add_graph_options(flow)
    if not hasattr(flow.sysconfig, "with_enterprise"):
        flow.sysconfig.with_enterprise = lambda: False


def _add_args_tree(flow: Any, torch: Any) -> None:
    """Structures of arguments: 0.9.0 has them elsewhere, without `tensor_type` and dataclasses."""
    from oneflow.nn.graph import util

    class ArgsTree(util.ArgsTree):  # type: ignore[misc]
        def __init__(self, io_args: Any, gen_name: bool = False, *more: Any, tensor_type: Any = None) -> None:
            super().__init__(io_args, gen_name, *more)

        def _execute_mapping(self, value: Any, call: Callable[[Any], Any]) -> Any:
            if dataclasses.is_dataclass(value) and not isinstance(value, (type, torch.Tensor, flow.Tensor)):
                return call(value)
            return super()._execute_mapping(value, call)

    module: Any = ModuleType("oneflow.framework.args_tree")
    module.ArgsTree, module.NamedArg = ArgsTree, util.NamedArg
    module._is_dataclass = dataclasses.is_dataclass
    sys.modules[module.__name__] = flow.framework.args_tree = module


def _add_mock_torch() -> None:
    """Of modules that stand for torch's only names are asked: the passes bring their own class for OneFlow."""
    import oneflow.mock_torch as mock

    importer: Any = ModuleType("oneflow.mock_torch.mock_importer")
    importer._importer = mock._importer
    sys.modules[importer.__name__] = mock.mock_importer = importer


def _add_graph_options(flow: Any) -> None:
    """A graph for each signature is what a pass is anyway: nothing to keep several of."""
    before = flow.nn.Graph.__init__

    @functools.wraps(before)
    def init(self: Any, *args: Any, **options: Any) -> None:
        options.pop("enable_get_runtime_state_dict", None)
        before(self, *args, **options)

    def with_dynamic_input_shape(*_: Any) -> Callable[[Any], Any]:
        def of(make: Any) -> Any:
            @functools.wraps(make)
            def made(self: Any, *args: Any, **options: Any) -> None:
                make(self, *args, **options)
                object.__setattr__(self, "_dynamic_input_graph_cache", _OneGraph())

            return made

        return of

    flow.nn.Graph.__init__ = init
    flow.nn.Graph.with_dynamic_input_shape = staticmethod(with_dynamic_input_shape)
    # what constants were folded into is not known: there are none, since weights are variables
    flow._oneflow_internal.nn.graph.CNNGraph.get_runtime_var_states = lambda _: ((), ())


class _OneGraph:
    def set_cache_size(self, size: int) -> None:
        """Nothing to do."""

    def enable_shared(self, shared: bool) -> None:
        """Nothing to do."""
