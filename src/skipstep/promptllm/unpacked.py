"""The default model as a transformers folder, for engines and training that GGUF files are not made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, ModelLoadError
from ..hashes import file_sha256
from ..whole import whole_folder
from .fetch import FILE_SHA256, fetched_model

FOLDER = "SmolLM2-135M-Instruct"


def unpacked_model() -> Path:
    """Where the folder is, or would be.

    Raises:
        MissingExtraError, OutputError: as `cache_folder`.
    """
    return fetched_model().with_name(FOLDER)


def unpack_model() -> Path:
    """Make the folder of what `fetch_model` got, and return it; nothing is done if it is there.

    It has config, tokenizer and weights in float32 (538 MB), as the 4-bit values of the GGUF file are.

    Raises:
        ModelLoadError: if the model was not fetched, or is another file.
        OutputError: if the folder cannot be written.
        MissingExtraError: without transformers or gguf.
    """
    source, target = fetched_model(), unpacked_model()
    if (target / "config.json").is_file():
        return target
    if not source.is_file() or file_sha256(source) != FILE_SHA256:
        raise ModelLoadError(f"{source} is not there or is another file; `skipstep prompt fetch` gets it")
    with whole_folder(target) as unfinished:
        unpack(source, unfinished)
    return target


def unpack(source: Path, folder: Path) -> None:
    """Write a GGUF file's model into a folder, as transformers reads it.

    Raises:
        MissingExtraError: without transformers or gguf.
    """
    try:
        import gguf  # noqa: F401  transformers reads the file with it
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise MissingExtraError(f"unpacking a GGUF file needs {error.name}: pip install 'skipstep[prompt]'") from error
    file: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    AutoTokenizer.from_pretrained(str(source.parent), **file).save_pretrained(str(folder))
    # without `dequantize` the weights are dense, too, but transformers refuses to save them
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent), **file, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(str(folder))
