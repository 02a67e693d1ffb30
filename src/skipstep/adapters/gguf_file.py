"""A LoRA as the GGUF file that llama.cpp adds to a model while it runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AdapterError, MissingExtraError
from ..whole import whole_file
from .base import BaseModel
from .inspection import AdapterInfo
from .lora_matrices import folded

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_LAYER = re.compile(r"model\.layers\.(\d{1,4})\.(?:self_attn|mlp)\.(\w+)")
NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def write_gguf(info: AdapterInfo, out: Path, *, base: BaseModel) -> None:
    """Write a LoRA, rsLoRA or AdaLoRA for a Llama as GGUF, in float32.

    The scale is in B, and the file's alpha of 0 has llama.cpp use no other, whatever the ranks. Rows of queries and
    keys are in llama.cpp's order, which pairs the two halves of a head for its rotary embedding.

    Raises:
        AdapterError: if the adapter is of another family, or the base is no Llama.
        OutputError: if `out` cannot be written.
        MissingExtraError: without gguf.
    """
    if base.fingerprint.architecture != "llama":
        raise AdapterError(
            f"architecture: {base.fingerprint.architecture!r} has other names and rows in llama.cpp; only 'llama' is "
            "written as GGUF"
        )
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(f"GGUF files need {error.name}: pip install 'skipstep[prompt]'") from error
    tensors = {}
    for matrices in folded(info):
        layer, name = _layer(matrices.module)
        b = matrices.b
        if name in ("q_proj", "k_proj"):
            b = paired(b, heads=base.heads if name == "q_proj" else base.kv_heads)
        tensors[f"blk.{layer}.{NAMES[name]}.weight.lora_a"] = matrices.a
        tensors[f"blk.{layer}.{NAMES[name]}.weight.lora_b"] = b
    with whole_file(out) as unfinished:
        writer = gguf.GGUFWriter(str(unfinished), "llama")
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 0.0)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def paired(rows: NDArray[numpy.float32], *, heads: int) -> NDArray[numpy.float32]:
    """Rows whose pair lies half a head away, put next to each other: (outputs, rank) to the same shape.

    Raises:
        AdapterError: if the rows are not those of that many heads.
    """
    if rows.shape[0] % (2 * heads):
        raise AdapterError(f"shape: {rows.shape[0]} rows are no pairs in {heads} heads of the base model")
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape).copy()


def _layer(module: str) -> tuple[int, str]:
    found = _LAYER.fullmatch(module)
    if found is None or found[2] not in NAMES:
        raise AdapterError(f"module {module}: is not among those of a Llama's layers that GGUF has: {', '.join(NAMES)}")
    return int(found[1]), found[2]
