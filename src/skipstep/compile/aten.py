"""Lowers a pass to a list of ATen operators that another process can run with other means."""

from __future__ import annotations

import operator
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram, default_decompositions

from ._upstream import without_torch_warnings

# kept whole: each of these is one operator elsewhere, too, and torch would take it apart
_WHOLE = (
    "aten.avg_pool2d.",
    "aten.conv1d.default",
    "aten.conv2d.default",
    "aten.conv3d.default",
    "aten.gelu.",
    "aten.group_norm.",
    "aten.layer_norm.",
    "aten.linear.",
    "aten.matmul.",
    "aten.scaled_dot_product_attention.",
    "aten.silu.",
    "aten.softmax.",
    "aten.split",
    "aten.upsample_nearest2d.",
)
_NOTHING = "aten._assert_tensor_metadata.default"  # checks what the signature of the call has checked
_SAME = frozenset({"aten.clone.default", "aten.alias.default", "aten.detach.default"})
_COPY = "aten._to_copy.default"
_ATTENTION = "aten.scaled_dot_product_attention.default"
_OF_TENSORS = frozenset({"device", "layout", "memory_format", "pin_memory", "non_blocking"})  # that change no number


class LoweringError(ValueError):
    """A pass has an operator that the other side has not."""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """A pass as operators on named tensors. What depends on neither inputs nor weights is computed here, once."""

    nodes: list[dict[str, Any]]  # "name", "operator", "args" and "options", plain enough for JSON
    inputs: dict[str, int]  # by name, which of the pass's tensors; those without effect are left out
    weights: dict[str, str]  # by name, the parameter or buffer of the module
    constants: dict[str, Tensor]
    outputs: list[str]


def lower(module: nn.Module, example: tuple[Tensor, ...], *, known: Container[str]) -> Lowered:
    """The operators of a pass.

    Raises:
        LoweringError: naming the first operator that is not among the `known`, or what of one cannot be honoured.
    """
    exported = torch.export.export(module, example, strict=False)
    with without_torch_warnings():
        table = default_decompositions()
        for one in [one for one in table if str(one).startswith(_WHOLE)]:
            table.pop(one)
        program = exported.run_decompositions(table)
    return _Lowering(program, known).lowered()


class _Lowering:
    def __init__(self, program: ExportedProgram, known: Container[str]) -> None:
        self._program = program
        self._known = known
        self._same: dict[str, str] = {}  # names of what is another tensor as it is
        self._constants: dict[str, Any] = {}
        self._weights: dict[str, str] = {}
        self._inputs: dict[str, int] = {}
        self._nodes: list[dict[str, Any]] = []

    def lowered(self) -> Lowered:
        """All of it, without what has no effect."""
        if self._program.graph_signature.buffers_to_mutate:
            raise LoweringError("the pass writes to its own buffers, which no graph can")
        self._take_placeholders()
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._take(node)
        (result,) = self._program.graph.output_node().args
        outputs = [self._name(node) for node in result]
        nodes = _needed(self._nodes, outputs)
        used = {*outputs, *(name for node in nodes for name in _tensors([node["args"], node["options"]]))}
        return Lowered(
            nodes=nodes,
            inputs=_only(self._inputs, used),
            weights=_only(self._weights, used),
            constants=_only(self._constants, used),
            outputs=outputs,
        )

    def _take_placeholders(self) -> None:
        signature = self._program.graph_signature
        stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        lifted = signature.inputs_to_lifted_tensor_constants
        users = [node for node in self._program.graph.nodes if node.op == "placeholder"]
        number = 0
        for node in users:
            if node.name in stored:
                self._weights[node.name] = stored[node.name]
            elif node.name in lifted:
                self._constants[node.name] = self._program.constants[lifted[node.name]]
            else:
                self._inputs[node.name] = number
                number += 1

    def _take(self, node: fx.Node) -> None:
        name = "getitem" if node.target is operator.getitem else str(node.target)
        if name == _NOTHING:
            return
        sources = [self._name(source) for source in node.all_input_nodes]
        if all(source in self._constants for source in sources):
            self._constants[node.name] = self._computed(node)
        elif name in _SAME or (name == _COPY and _dtype(node) == _dtype(node.all_input_nodes[0])):
            self._same[node.name] = sources[0]
        else:
            self._check(name, node)
            self._nodes.append(self._node(name, node))

    def _check(self, name: str, node: fx.Node) -> None:
        if name not in self._known:
            raise LoweringError(f"OneFlow graphs have no operator {name}")
        if name == _ATTENTION:
            self._check_attention(node)

    def _check_attention(self, node: fx.Node) -> None:
        given = _attention_arguments(node)
        mask = given["attn_mask"]
        if isinstance(mask, fx.Node) and _dtype(mask) == torch.bool:
            raise LoweringError(f"OneFlow graphs have no {_ATTENTION} with a mask of truth values")
        for option in ("dropout_p", "is_causal", "enable_gqa"):
            if given[option]:
                raise LoweringError(f"OneFlow graphs have no {_ATTENTION} with {option}={given[option]}")

    def _node(self, name: str, node: fx.Node) -> dict[str, Any]:
        args: Any = node.args
        options = {key: value for key, value in node.kwargs.items() if key not in _OF_TENSORS}
        if name == _ATTENTION:
            given = _attention_arguments(node)
            args, options = (*node.args[:3], given["attn_mask"]), {"scale": given["scale"]}
        plain = {key: self._plain(value) for key, value in options.items()}
        return {"name": node.name, "operator": name, "args": self._plain(args), "options": plain}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return {"tensor": self._name(value)}
        if isinstance(value, (list, tuple)):
            return [self._plain(item) for item in value]
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise LoweringError(f"OneFlow graphs take no argument of type {type(value).__name__}")

    def _name(self, node: fx.Node) -> str:
        return self._same.get(node.name, node.name)  # what it stands for was resolved as it was taken

    def _computed(self, node: fx.Node) -> Any:
        """What a node gives that depends on no input."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: self._constants[self._name(source)])
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _attention_arguments(node: fx.Node) -> dict[str, Any]:
    """What may follow query, key and value, by name."""
    default = {"attn_mask": None, "dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False}
    return {**default, **dict(zip(default, node.args[3:], strict=False)), **node.kwargs}


def _dtype(node: fx.Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, Tensor) else None


def _needed(nodes: list[dict[str, Any]], outputs: list[str]) -> list[dict[str, Any]]:
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node["name"] in wanted:
            wanted.update(_tensors([node["args"], node["options"]]))
            kept.append(node)
    return kept[::-1]


def _tensors(value: Any) -> list[str]:
    """The names of the tensors among arguments."""
    if isinstance(value, dict):
        return [value["tensor"]] if set(value) == {"tensor"} else _tensors([*value.values()])
    return [name for item in value for name in _tensors(item)] if isinstance(value, list) else []


def _only(named: Mapping[str, Any], used: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if name in used}
