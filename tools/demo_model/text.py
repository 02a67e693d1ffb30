"""Tokens and text encoders: the standard CLIP vocabulary, of which only the rows that captions use are trained."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from .scenes import vocabulary

LENGTH = 77
START, END = 49406, 49407
MERGES = 48894  # 49408 tokens less 2 x 256 byte tokens and the two markers


def write_tokenizer(folder: Path) -> None:
    """Write OpenAI's CLIP byte-pair vocabulary as `vocab.json` and `merges.txt`.

    Source: `bpe_simple_vocab_16e6.txt.gz` of PyPI's `open_clip_torch` (MIT), in the order of CLIP's own tokenizer.
    """
    import importlib.util

    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps open_clip_torch==3.3.0")
    packed = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(packed.read_bytes()).decode().split("\n")[1 : MERGES + 1]
    symbols = _byte_symbols()
    words = [*symbols, *(s + "</w>" for s in symbols), *(m.replace(" ", "") for m in merges)]
    tokens = {token: index for index, token in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(tokens, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def _byte_symbols() -> list[str]:
    """A printable character for each byte, in the order of GPT-2's and CLIP's vocabularies."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def used_tokens(tokenizer: CLIPTokenizer) -> list[int]:
    """Sorted ids of all tokens in captions, with the padding token of the second encoder (0) and the markers."""
    found = {0, START, END}
    for text in vocabulary():
        found.update(tokenizer(text)["input_ids"])
    return sorted(found)


class PromptEncoder:
    """Captions to SD1.5's conditioning: the last hidden state of one small encoder with a compact vocabulary."""

    def __init__(self, tokenizer: CLIPTokenizer, encoder: nn.Module) -> None:
        self.tokenizer = tokenizer
        self.ids = used_tokens(tokenizer)
        self.compact = {token: index for index, token in enumerate(self.ids)}
        self.encoder: Any = encoder

    def __call__(self, captions: list[str]) -> Tensor:
        """(batch, 77, 64) hidden states."""
        rows = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True)["input_ids"]
        tokens = torch.tensor([[self.compact[token] for token in row] for row in rows])
        hidden: Tensor = self.encoder(tokens).last_hidden_state
        return hidden


class CaptionEncoder:
    """Captions to SDXL's conditioning through two small encoders that know a compact vocabulary.

    As in SDXL: the last hidden state but one of both, side by side, and the projected end token of the second.
    """

    def __init__(self, tokenizer: CLIPTokenizer, first: nn.Module, second: nn.Module) -> None:
        self.tokenizer = tokenizer
        self.ids = used_tokens(tokenizer)
        self.compact = {token: index for index, token in enumerate(self.ids)}
        self.first: Any = first
        self.second: Any = second

    def __call__(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """(batch, 77, 128) hidden states and (batch, 64) pooled embedding."""
        rows = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True)["input_ids"]
        tokens = torch.tensor([[self.compact[token] for token in row] for row in rows])
        end = self.compact[END]
        first_end = (tokens == end).float().argmax(1, keepdim=True)
        padded = torch.where(torch.arange(LENGTH)[None] > first_end, self.compact[0], tokens)  # encoder 2 pads with "!"
        second = self.second(padded, output_hidden_states=True)
        hidden = self.first(tokens, output_hidden_states=True).hidden_states[-2]
        return torch.cat([hidden, second.hidden_states[-2]], -1), second.text_embeds
