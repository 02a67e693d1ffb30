"""Base models in 4 or 8 bits, under which any LoRA is the same: QLoRA (Dettmers et al. 2023, arXiv:2305.14314)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import MissingExtraError, OptionError
from .model_folder import load_model_folder

# what transformers hands on to bitsandbytes
_OPTIONS: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "int8": {"load_in_8bit": True},
}
QUANTIZATIONS = tuple(_OPTIONS)


def load_quantized(
    folder: Path | str, quantization: str = "nf4", *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Any:
    """A transformers folder as a causal LM in evaluation mode, its linear layers but the last in 4 or 8 bits.

    "nf4" has the paper's two steps: NormalFloat values in blocks of 64, whose sizes are in 8 bits themselves; "int8"
    is LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339). All else, and the sums of "nf4", are of `dtype`. Only
    safetensors are read, and nothing is downloaded.

    Raises:
        OptionError: for another quantization.
        AdapterError: if the folder is damaged, is no causal language model, or is quantised already.
        MissingExtraError: without bitsandbytes or transformers.
    """
    if quantization not in _OPTIONS:
        raise OptionError(f"quantization must be one of {', '.join(QUANTIZATIONS)}, got {quantization!r}")
    try:
        import bitsandbytes  # transformers imports it too late for a clear error
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            f"models in {quantization} need {error.name}: pip install 'skipstep[prompt,qlora]'"
        ) from error
    config: Any = transformers.BitsAndBytesConfig
    layers: Any = bitsandbytes.nn
    options = config(**_OPTIONS[quantization], bnb_4bit_compute_dtype=dtype)
    model = load_model_folder(Path(folder), dtype=dtype, device_map={"": device}, quantization_config=options)
    for module in model.modules():
        if isinstance(module, layers.Linear4bit):
            # 0.50 rearranges a weight the first time that it is used in evaluation mode on a processor with this, and
            # has no gradient for inputs of rearranged ones: training afterwards would learn nothing below the last
            module.support_avx512bf16_for_cpu = False
    return model
