"""What diffusers writes beside a LoRA's tensors: a config for each model, which it later hands to PEFT as it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import AdapterError
from .config import Config, bounded
from .strict_json import parse_object
from .targets import names, plain_name

KEY = "lora_adapter_metadata"
_PARTS = ("unet", "text_encoder", "text_encoder_2", "transformer")


def check_metadata(metadata: Mapping[str, str], ranks: Collection[int]) -> None:
    """See that configs in a file's metadata have what a language model's may have, and no ranks but those of tensors.

    Raises:
        AdapterError: names the model and the field.
    """
    if KEY not in metadata:
        return
    configs: dict[str, dict[str, Any]] = {}
    for name, value in parse_object(metadata[KEY].encode(), KEY).items():
        part, _, field = name.partition(".")
        if part not in _PARTS or not field:
            raise AdapterError(f"{KEY}: {name[:80]!r} is of none of {', '.join(_PARTS)}")
        configs.setdefault(part, {})[field] = value
    for part, fields in configs.items():
        try:
            _check_config(Config({"peft_type": "LORA", **fields}), ranks)
        except AdapterError as error:
            raise AdapterError(f"{KEY}: {part}.{error}") from error


def _check_config(config: Config, ranks: Collection[int]) -> None:
    if config.family.peft_type != "LORA":
        raise AdapterError(f"peft_type: must be LORA, got {config.family.peft_type}")
    if config.fields.get("target_modules"):
        names(config.fields["target_modules"], "target_modules")
    bounded(config.fields.get("lora_alpha", 8), "lora_alpha")
    stated = {"r": config.fields.get("r", 8)} | dict(config.pattern("rank_pattern"))
    for name, rank in stated.items():
        plain_name(name.removeprefix("^"), "rank_pattern")
        if type(rank) is not int or rank not in ranks:
            field = "r" if name == "r" else "rank_pattern"
            raise AdapterError(
                f"{field}: is {str(rank)[:80]}, and the tensors have {', '.join(map(str, sorted(ranks)))}"
            )
    for name, alpha in config.pattern("alpha_pattern").items():
        plain_name(name.removeprefix("^"), "alpha_pattern")
        bounded(alpha, "alpha_pattern")
