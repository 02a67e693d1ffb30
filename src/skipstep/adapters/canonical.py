"""The canonical form of a LoRA: the scale in B, and alpha = rank, so that every reader scales by 1.

Some programs read only `r` and `lora_alpha` of a config, and know neither patterns nor rsLoRA; here these give 1, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import AdapterError, MissingExtraError
from ..whole import whole_folder, write_whole
from .base import BaseModel
from .folder import CONFIG, SIDECAR, WEIGHTS
from .inspection import AdapterInfo
from .lora_matrices import folded
from .sidecar import sidecar_bytes

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


def write_canonical(
    info: AdapterInfo, out: Path, *, base: BaseModel | None = None, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a LoRA, rsLoRA or AdaLoRA as a new PEFT folder; with a `base`, a note of the model it is for lies beside.

    Raises:
        AdapterError: if the adapter is of another family, or has values that `dtype` has not.
        OutputError: if `out` is there and not empty, or cannot be written.
        MissingExtraError: without numpy or safetensors.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingExtraError(f"writing adapters needs {error.name}: pip install 'skipstep[prompt]'") from error
    tensors = {}
    for matrices in folded(info):
        tensors[f"base_model.model.{matrices.module}.lora_A.weight"] = _stored(matrices.a, dtype)
        tensors[f"base_model.model.{matrices.module}.lora_B.weight"] = _stored(matrices.b, dtype)
    config = json.dumps(canonical_config({module.name: module.rank or 0 for module in info.modules}), indent=1)
    note = base.fingerprint if base is not None else info.base
    with whole_folder(out) as unfinished:
        write_whole(unfinished / WEIGHTS, save(tensors, metadata={"format": "pt"}))
        write_whole(unfinished / CONFIG, (config + "\n").encode())
        if note is not None:
            write_whole(unfinished / SIDECAR, sidecar_bytes(note))


def _stored(values: NDArray[numpy.float32], dtype: str) -> NDArray[Any]:
    largest = abs(values).max()
    if dtype == "float16" and not largest <= 65_504:
        raise AdapterError(f"values of up to {largest:g} are too large for float16; write float32")
    return values.astype(dtype)


def canonical_config(ranks: dict[str, int]) -> dict[str, Any]:
    """PEFT's config of a LoRA whose scale is 1 in every module."""
    largest = max(ranks.values())
    others = {name: rank for name, rank in sorted(ranks.items()) if rank != largest}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "target_modules": sorted(ranks),
        "rank_pattern": others,
        "alpha_pattern": dict(others),
    }
