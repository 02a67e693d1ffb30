"""ATen's operators in what OneFlow 0.9 has: the only list of those that a graph may have.

Where OneFlow has no such function, or one for CUDA only, it is composed of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

_END = 2**62  # torch's way to say "to the end"

# by name, the function of torch that OneFlow has, too, or the method of `Operators`
NAMES = {
    "getitem": "item",
    "aten.add.Tensor": "add",
    "aten._to_copy.default": "to_copy",
    "aten.addmm.default": "addmm",
    "aten.avg_pool2d.default": "avg_pool2d",
    "aten.bmm.default": "torch.matmul",
    "aten.cat.default": "cat",
    "aten.clamp.default": "clamp",
    "aten.constant_pad_nd.default": "pad",
    "aten.conv1d.default": "conv1d",
    "aten.conv2d.default": "conv2d",
    "aten.conv3d.default": "conv3d",
    "aten.cos.default": "torch.cos",
    "aten.div.Tensor": "div",
    "aten.exp.default": "torch.exp",
    "aten.expand.default": "expand",
    "aten.gelu.default": "gelu",
    "aten.group_norm.default": "group_norm",
    "aten.gt.Scalar": "gt",
    "aten.layer_norm.default": "layer_norm",
    "aten.linear.default": "functional.linear",
    "aten.lt.Scalar": "lt",
    "aten.matmul.default": "torch.matmul",
    "aten.mean.dim": "mean",
    "aten.mm.default": "torch.matmul",
    "aten.mul.Tensor": "mul",
    "aten.neg.default": "neg",
    "aten.permute.default": "permute",
    "aten.pow.Tensor_Scalar": "pow",
    "aten.relu.default": "functional.relu",
    "aten.repeat.default": "repeat",
    "aten.rsqrt.default": "torch.rsqrt",
    "aten.scaled_dot_product_attention.default": "attention",
    "aten.select.int": "select",
    "aten.sigmoid.default": "torch.sigmoid",
    "aten.silu.default": "functional.silu",
    "aten.sin.default": "torch.sin",
    "aten.slice.Tensor": "slice",
    "aten.softmax.int": "softmax",
    "aten.split.Tensor": "split",
    "aten.split_with_sizes.default": "split",
    "aten.sqrt.default": "torch.sqrt",
    "aten.squeeze.dims": "squeeze",
    "aten.sub.Tensor": "sub",
    "aten.sum.dim_IntList": "sum",
    "aten.tanh.default": "torch.tanh",
    "aten.unsqueeze.default": "unsqueeze",
    "aten.upsample_nearest2d.vec": "upsample",
    "aten.view.default": "reshape",
    "aten.where.self": "torch.where",
}


class Operators:
    """Each operator as a method; `torch` is OneFlow, whose functions have torch's names, or torch itself."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._functions = torch.nn.functional
        self._owners = {"torch": torch, "functional": torch.nn.functional, "": self}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        owner, _, what = NAMES[name].rpartition(".")
        found: Callable[..., Any] = getattr(self._owners[owner], what)
        return found

    # -- arithmetic

    def add(self, one: Any, other: Any, alpha: float = 1) -> Any:
        return one + (other if alpha == 1 else other * alpha)

    def sub(self, one: Any, other: Any, alpha: float = 1) -> Any:
        return one - (other if alpha == 1 else other * alpha)

    def mul(self, one: Any, other: Any) -> Any:
        return one * other

    def div(self, one: Any, other: Any) -> Any:
        return one / other

    def neg(self, x: Any) -> Any:
        return x * -1

    def pow(self, x: Any, exponent: float) -> Any:
        return self._torch.pow(x, exponent)

    def gt(self, x: Any, other: float) -> Any:
        return x > other

    def lt(self, x: Any, other: float) -> Any:
        return x < other

    def clamp(self, x: Any, low: float | None = None, high: float | None = None) -> Any:
        return self._torch.clamp(x, low, high)

    def mean(self, x: Any, dims: Sequence[int], keepdim: bool = False) -> Any:
        return x.mean(list(dims), keepdim)

    def sum(self, x: Any, dims: Sequence[int], keepdim: bool = False) -> Any:
        return x.sum(list(dims), keepdim)

    def to_copy(self, x: Any, dtype: str | None = None) -> Any:
        return x if dtype is None else x.to(getattr(self._torch, dtype))

    # -- activations

    def gelu(self, x: Any, approximate: str = "none") -> Any:
        return self._functions.gelu(x) if approximate == "none" else self._functions.gelu(x, approximate=approximate)

    def softmax(self, x: Any, dim: int) -> Any:
        return self._torch.softmax(x, dim=dim)

    # -- products

    def addmm(self, bias: Any, one: Any, other: Any, *, beta: float = 1, alpha: float = 1) -> Any:
        product = self._torch.matmul(one, other)
        return bias * beta + product * alpha if (alpha, beta) != (1, 1) else bias + product

    def conv1d(self, x: Any, weight: Any, bias: Any = None, *more: Any) -> Any:
        return self._functions.conv1d(x, weight, bias, **_of_convolution(more))

    def conv2d(self, x: Any, weight: Any, bias: Any = None, *more: Any) -> Any:
        return self._functions.conv2d(x, weight, bias, **_of_convolution(more))

    def conv3d(self, x: Any, weight: Any, bias: Any = None, *more: Any) -> Any:
        return self._functions.conv3d(x, weight, bias, **_of_convolution(more))

    def attention(self, query: Any, key: Any, value: Any, mask: Any = None, *_: Any, scale: float | None = None) -> Any:
        """Written out: OneFlow 0.9.0 has no such function for CPUs. Dropout and the causal mask never get here."""
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = self._torch.matmul(query, key.transpose(-1, -2)) * factor
        scores = scores if mask is None else scores + mask
        return self._torch.matmul(self._torch.softmax(scores, dim=-1), value)

    # -- norms

    def layer_norm(
        self, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
    ) -> Any:
        return self._functions.layer_norm(x, tuple(shape), weight, bias, eps)

    def group_norm(self, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
        """Composed, since that of OneFlow 0.9.0 is for CUDA."""
        shape = tuple(x.shape)
        size = prod(shape[1:]) // groups
        normal = self._functions.layer_norm(x.reshape(shape[0], groups, size), (size,), None, None, eps)
        normal = normal.reshape(*shape)
        channels = (1, shape[1]) + (1,) * (len(shape) - 2)
        normal = normal if weight is None else normal * weight.reshape(*channels)
        return normal if bias is None else normal + bias.reshape(*channels)

    # -- shapes

    def item(self, parts: Sequence[Any], index: int) -> Any:
        return parts[index]

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return x.reshape(*shape)

    def permute(self, x: Any, dims: Sequence[int]) -> Any:
        return x.permute(*dims)

    def unsqueeze(self, x: Any, dim: int) -> Any:
        return x.unsqueeze(dim)

    def squeeze(self, x: Any, dims: Sequence[int]) -> Any:
        dropped = {dim % len(x.shape) for dim in dims}
        kept = [size for dim, size in enumerate(x.shape) if dim not in dropped or size != 1]
        return x.reshape(*kept)

    def expand(self, x: Any, shape: Sequence[int]) -> Any:
        return x.expand(*shape)

    def repeat(self, x: Any, times: Sequence[int]) -> Any:
        return x.repeat(*times)

    def select(self, x: Any, dim: int, index: int) -> Any:
        return x[(slice(None),) * (dim % len(x.shape)) + (index,)]

    def slice(self, x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
        parts = [slice(None)] * len(x.shape)
        parts[dim] = slice(start, None if end is None or end >= _END else end, step)
        return x[tuple(parts)]

    def split(self, x: Any, sizes: int | Sequence[int], dim: int = 0) -> Any:
        return x.split(sizes if isinstance(sizes, int) else list(sizes), dim=dim)

    def cat(self, parts: Sequence[Any], dim: int = 0) -> Any:
        return self._torch.cat(list(parts), dim=dim)

    def pad(self, x: Any, widths: Sequence[int], value: float = 0.0) -> Any:
        return self._functions.pad(x, tuple(widths), mode="constant", value=value)

    def upsample(self, x: Any, size: Sequence[int] | None, factors: Sequence[float] | None) -> Any:
        if size is None:
            assert factors is not None
            size = [int(length * factor) for length, factor in zip(x.shape[2:], factors, strict=True)]
        return self._functions.interpolate(x, size=tuple(size), mode="nearest")

    def avg_pool2d(self, x: Any, kernel: Sequence[int], stride: Sequence[int] = (), *_: Any) -> Any:
        return self._functions.avg_pool2d(x, tuple(kernel), tuple(stride) or tuple(kernel))


def _of_convolution(more: Sequence[Any]) -> dict[str, Any]:
    """Stride, padding, dilation and groups as far as they are given."""
    named = zip(("stride", "padding", "dilation", "groups"), more, strict=False)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in named}
