"""One call of each ATen operator that OneFlow graphs may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """A call of torch that is lowered to this operator."""

    operator: str
    shapes: Shapes
    call: Callable[..., Any]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.operator} {self.name}".strip()

    def module(self) -> nn.Module:
        return _Call(self.call)

    def tensors(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(3)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes)


class _Call(nn.Module):
    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self._call = call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        made = self._call(*tensors)
        return tuple(made) if isinstance(made, (tuple, list)) else (made,)


ONE: Shapes = ((2, 4, 6),)
TWO: Shapes = ((2, 4, 6), (2, 4, 6))
IMAGE: Shapes = ((2, 8, 6, 10),)
HEADS: Shapes = ((2, 3, 5, 4),) * 3

CASES = (
    Case("getitem", ONE, lambda x: x.chunk(2, dim=1)),
    Case("aten._to_copy.default", ONE, lambda x: (x > 0).float()),
    Case("aten.add.Tensor", TWO, lambda x, y: torch.add(x, y, alpha=0.5)),
    Case("aten.add.Tensor", TWO, lambda x, y: x + y, "plain"),
    Case("aten.addmm.default", ((5,), (3, 4), (4, 5)), torch.addmm),
    Case("aten.avg_pool2d.default", IMAGE, lambda x: F.avg_pool2d(x, 2)),
    Case("aten.bmm.default", ((2, 3, 4), (2, 4, 5)), torch.bmm),
    Case("aten.cat.default", TWO, lambda x, y: torch.cat([x, y], dim=-1)),
    Case("aten.clamp.default", ONE, lambda x: x.clamp(-0.5, 0.25)),
    Case("aten.constant_pad_nd.default", IMAGE, lambda x: F.pad(x, (0, 1, 2, 1), value=0.5)),
    Case("aten.conv1d.default", ((2, 4, 9), (6, 4, 3), (6,)), lambda *x: F.conv1d(*x, stride=2, padding=1)),
    Case("aten.conv2d.default", ((2, 4, 9, 7), (6, 4, 3, 3), (6,)), lambda *x: F.conv2d(*x, stride=2, padding=1)),
    Case("aten.conv2d.default", ((2, 4, 9, 7), (4, 1, 3, 3)), lambda x, w: F.conv2d(x, w, groups=4), "grouped"),
    Case("aten.conv3d.default", ((1, 4, 5, 6, 7), (6, 4, 3, 1, 1)), lambda x, w: F.conv3d(x, w, padding=(1, 0, 0))),
    Case("aten.cos.default", ONE, torch.cos),
    Case("aten.div.Tensor", TWO, lambda x, y: x / (y.sigmoid() + 1)),
    Case("aten.exp.default", ONE, torch.exp),
    Case("aten.expand.default", ((2, 1, 6),), lambda x: x.expand(2, 4, 6) * 2),
    Case("aten.gelu.default", ONE, F.gelu),
    Case("aten.gelu.default", ONE, lambda x: F.gelu(x, approximate="tanh"), "tanh"),
    Case("aten.group_norm.default", (*IMAGE, (8,), (8,)), lambda x, w, b: F.group_norm(x, 4, w, b, 1e-6)),
    Case("aten.group_norm.default", ((1, 8, 3, 4, 5),), lambda x: F.group_norm(x, 2), "of videos"),
    Case("aten.gt.Scalar", ONE, lambda x: (x > 0.5).float()),
    Case("aten.layer_norm.default", (*ONE, (6,), (6,)), lambda x, w, b: F.layer_norm(x, (6,), w, b)),
    Case("aten.linear.default", ((2, 4, 6), (5, 6), (5,)), F.linear),
    Case("aten.linear.default", ((2, 4, 6), (5, 6)), F.linear, "without bias"),
    Case("aten.lt.Scalar", ONE, lambda x: (x < 0.5).float()),
    Case("aten.matmul.default", ((2, 3, 5, 4), (2, 3, 4, 6)), torch.matmul),
    Case("aten.mean.dim", ONE, lambda x: x.mean((1, 2), keepdim=True)),
    Case("aten.mm.default", ((3, 4), (4, 5)), torch.mm),
    Case("aten.mul.Tensor", TWO, lambda x, y: x * y),
    Case("aten.neg.default", ONE, torch.neg),
    Case("aten.permute.default", ONE, lambda x: x.permute(2, 0, 1)),
    Case("aten.pow.Tensor_Scalar", ONE, lambda x: x**2),
    Case("aten.relu.default", ONE, F.relu),
    Case("aten.repeat.default", ONE, lambda x: x.repeat(1, 3, 2)),
    Case("aten.rsqrt.default", ONE, lambda x: torch.rsqrt(x.exp())),
    Case("aten.scaled_dot_product_attention.default", HEADS, F.scaled_dot_product_attention),
    Case(
        "aten.scaled_dot_product_attention.default",
        (*HEADS, (5, 5)),
        lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3),
        "with a mask",
    ),
    Case("aten.select.int", ONE, lambda x: x[:, 2]),
    Case("aten.select.int", ONE, lambda x: x[..., -1], "the last"),
    Case("aten.sigmoid.default", ONE, torch.sigmoid),
    Case("aten.silu.default", ONE, F.silu),
    Case("aten.sin.default", ONE, torch.sin),
    Case("aten.slice.Tensor", ONE, lambda x: x[:, 1:, ::2]),
    Case("aten.softmax.int", ONE, lambda x: x.softmax(1)),
    Case("aten.split.Tensor", ONE, lambda x: x.split(4, dim=2)),
    Case("aten.split_with_sizes.default", ONE, lambda x: x.split([1, 3], dim=1)),
    Case("aten.sqrt.default", ONE, lambda x: x.exp().sqrt()),
    Case("aten.squeeze.dims", ((2, 1, 6),), lambda x: x.squeeze(1)),
    Case("aten.sub.Tensor", TWO, lambda x, y: torch.sub(x, y, alpha=2)),
    Case("aten.sum.dim_IntList", ONE, lambda x: x.sum(-1)),
    Case("aten.tanh.default", ONE, torch.tanh),
    Case("aten.unsqueeze.default", ONE, lambda x: x.unsqueeze(1)),
    Case("aten.upsample_nearest2d.vec", IMAGE, lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest")),
    Case("aten.upsample_nearest2d.vec", IMAGE, lambda x: F.interpolate(x, size=(9, 11), mode="nearest"), "to a size"),
    Case("aten.view.default", ONE, lambda x: x.view(2, -1)),
    Case("aten.where.self", TWO, lambda x, y: torch.where(x > 0, x, y)),
)
