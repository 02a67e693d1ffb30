"""What the shapes of a module's tensors say, for each family: None where they contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What the tensors of a module say: its rank, and the sizes of the layer they fit, where they say so."""

    rank: int | None = None
    inputs: int | None = None
    outputs: int | None = None


def _product(left: Shape, right: Shape) -> Shape | None:
    """The shape of a product of two matrices with the rank between them: (outputs, rank, inputs)."""
    if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        return None
    return left[0], left[1], right[1]


def lora(shapes: Shapes) -> Fit | None:
    """B A, and for DoRA (Liu et al. 2024, arXiv:2402.09353) a magnitude of each output."""
    found = _product(shapes["lora_B.weight"], shapes["lora_A.weight"])
    if found is None or shapes.get("lora_magnitude_vector", found[:1]) != found[:1]:
        return None
    return Fit(outputs=found[0], rank=found[1], inputs=found[2])


def adalora(shapes: Shapes) -> Fit | None:
    """B diag(E) A (Zhang et al. 2023, arXiv:2303.10512)."""
    found = _product(shapes["lora_B"], shapes["lora_A"])
    if found is None or shapes["lora_E"] != (found[1], 1):
        return None
    return Fit(outputs=found[0], rank=found[1], inputs=found[2])


def loha(shapes: Shapes) -> Fit | None:
    """The element-wise product of two products (Hyeon-Woo et al. 2021, arXiv:2108.06098)."""
    found = _product(shapes["hada_w1_a"], shapes["hada_w1_b"])
    if found is None or _product(shapes["hada_w2_a"], shapes["hada_w2_b"]) != found:
        return None
    return Fit(outputs=found[0], rank=found[1], inputs=found[2])


def lokr(shapes: Shapes) -> Fit | None:
    """The layer is the Kronecker product of two matrices, each whole or itself a product."""
    sides, ranks = [], set()
    for side in ("lokr_w1", "lokr_w2"):
        if side in shapes:
            if len(shapes[side]) != 2:
                return None
            sides.append(shapes[side])
            continue
        found = _product(shapes[f"{side}_a"], shapes[f"{side}_b"])
        if found is None:
            return None
        sides.append((found[0], found[2]))
        ranks.add(found[1])
    if len(ranks) > 1:
        return None
    (out_1, in_1), (out_2, in_2) = sides
    return Fit(outputs=out_1 * out_2, rank=next(iter(ranks), None), inputs=in_1 * in_2)


def ia3(shapes: Shapes) -> Fit | None:
    """A row scales the inputs of a feed-forward module, a column the outputs of any other."""
    shape = shapes["ia3_l"]
    if len(shape) != 2 or 1 not in shape:
        return None
    return Fit(inputs=shape[1]) if shape[0] == 1 else Fit(outputs=shape[0])


def oft(shapes: Shapes) -> Fit | None:
    """Each row is the upper triangle of a skew matrix of one block; a single row may be shared by all blocks."""
    shape = shapes["oft_R.weight"]
    if len(shape) != 2:
        return None
    side = (1 + isqrt(1 + 8 * shape[1])) // 2
    if side < 2 or side * (side - 1) // 2 != shape[1]:
        return None
    return Fit(rank=shape[0], inputs=shape[0] * side if shape[0] > 1 else None)


def vera(shapes: Shapes) -> Fit | None:
    """Scales of shared random matrices (Kopiczko et al. 2023, arXiv:2310.11454)."""
    outputs, rank = shapes["vera_lambda_b"], shapes["vera_lambda_d"]
    if len(outputs) != 1 or len(rank) != 1:
        return None
    return Fit(outputs=outputs[0], rank=rank[0])


def prompt(shapes: Shapes) -> Fit | None:
    """A table of vectors that stand before the text."""
    return Fit() if len(shapes["prompt_embeddings"]) == 2 else None
