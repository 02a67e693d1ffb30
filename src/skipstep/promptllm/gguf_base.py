"""A GGUF file's model as adapters see it."""

from __future__ import annotations

from ..adapters import BaseModel, Fingerprint
from ..adapters.gguf_file import NAMES
from .gguf_header import GgufHeader

KEYS = ("embedding_length", "block_count", "attention.head_count")


def base_of_gguf(header: GgufHeader) -> BaseModel | None:
    """The sizes of a Llama, with its modules named as transformers does; None for other models.

    What tells one Llama of these sizes from another cannot be read from quantised weights.
    """
    numbers = {key: header.numbers.get(f"llama.{key}", 0) for key in KEYS}
    vocabulary = header.shapes.get("token_embd.weight", (0, 0))
    if header.architecture != "llama" or not all(numbers.values()) or len(vocabulary) != 2:
        return None
    linears = {}
    for layer in range(numbers["block_count"]):
        for name, stored in NAMES.items():
            shape = header.shapes.get(f"blk.{layer}.{stored}.weight", ())
            part = "self_attn" if stored.startswith("attn") else "mlp"
            if len(shape) == 2:
                linears[f"model.layers.{layer}.{part}.{name}"] = (shape[1], shape[0])
    heads = numbers["attention.head_count"]
    return BaseModel(
        fingerprint=Fingerprint(
            architecture="llama",
            hidden_size=numbers["embedding_length"],
            layers=numbers["block_count"],
            vocab_size=vocabulary[1],
            sample="",
        ),
        heads=heads,
        kv_heads=header.numbers.get("llama.attention.head_count_kv", heads),
        linears=linears,
    )
