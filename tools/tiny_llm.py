"""Tiny causal LMs, seeded, and synthetic languages for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

WORDS = 32


def tiny_llama(*, layers: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32, std: float = 0.05) -> Any:
    """A Llama of hidden size 64 in evaluation mode; the caller's generator is left as it was."""
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=std,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).to(dtype).eval()


def language(seed: int, *, topics: int = 1, sharpness: float = 2.5) -> Tensor:
    """Probabilities of the next word after each (topics, words, words)."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(topics, WORDS, WORDS, generator=generator) * sharpness).softmax(-1)


def sentences(table: Tensor, *, count: int, length: int = 32, seed: int = 0) -> Tensor:
    """Random sentences (count, length) of a language; the first word decides the topic."""
    generator = torch.Generator().manual_seed(seed)
    words = [torch.randint(WORDS, (count,), generator=generator)]
    topic = words[0] % len(table)
    while len(words) < length:
        words.append(torch.multinomial(table[topic, words[-1]], 1, generator=generator)[:, 0])
    return torch.stack(words, 1)


def batches(
    table: Tensor, *, count: int, size: int = 8, length: int = 32, seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Batches of sentences, each by a seed of its own."""
    for number in range(count):
        yield {"input_ids": sentences(table, count=size, length=length, seed=seed + number)}
