"""A tiny Llama with a tokenizer of its own, as a transformers folder and as a GGUF file."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from skipstep.adapters.gguf_file import NAMES, paired

CONTROL = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>"]
HEADS, KV_HEADS = 4, 2


@functools.cache
def tiny_tokenizer(*, chatml: bool = True) -> Any:
    """Byte-level, with control tokens of two templates; `chatml` says whether its own template is one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["user\nassistant\nsystem\n a big fox, soft light"] * 3, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>", unk_token="<unk>", pad_token="<unk>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "</s>"]})
    made.chat_template = "{{ '<|im_start|>' }}" if chatml else None
    return made


def tiny_base(folder: Path, *, layers: int = 2, hidden: int = 32, context: int = 256) -> Path:
    """A random Llama with the tokenizer."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=context,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def tiny_gguf(folder: Path, out: Path) -> Path:
    """The model of `tiny_base` as llama.cpp reads it, in float32."""
    import gguf

    model = LlamaForCausalLM.from_pretrained(str(folder))
    config, weights = model.config, model.state_dict()
    writer = gguf.GGUFWriter(str(out), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer, folder)
    stored = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    for layer in range(config.num_hidden_layers):
        own = f"model.layers.{layer}"
        stored[f"blk.{layer}.attn_norm"] = f"{own}.input_layernorm"
        stored[f"blk.{layer}.ffn_norm"] = f"{own}.post_attention_layernorm"
        for name, there in NAMES.items():
            stored[f"blk.{layer}.{there}"] = f"{own}.{'self_attn' if there.startswith('attn') else 'mlp'}.{name}"
    for there, name in stored.items():
        values = weights[f"{name}.weight"].float().numpy()
        if name.endswith(("q_proj", "k_proj")):
            values = paired(values, heads=HEADS if name.endswith("q_proj") else KV_HEADS)
        writer.add_tensor(f"{there}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _add_tokenizer(writer: Any, folder: Path) -> None:
    import gguf

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    own = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    kinds = [gguf.TokenType.CONTROL if token in CONTROL else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in own["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
