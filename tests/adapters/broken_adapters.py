"""Adapters that must be refused, each with the words that the reason begins with."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_drafts import BASE, HIDDEN, Draft, framed, lora_draft, rewrite

CONFIG, WEIGHTS, SIDECAR = "adapter_config.json", "adapter_model.safetensors", "skipstep.json"
Q = "base_model.model.model.layers.0.self_attn.q_proj"
MARKER = "EXECUTED"


@dataclass(frozen=True)
class Broken:
    """What is done to a sound draft, and to its folder once written; `begins` is how the refusal begins."""

    name: str
    begins: str
    draft: Callable[[Draft], None] = lambda _: None
    folder: Callable[[Path], None] = lambda _: None

    def make(self, root: Path) -> Path:
        """The folder, in `root`."""
        made = lora_draft()
        self.draft(made)
        folder = made.write(root / self.name)
        self.folder(folder)
        return folder


class _Marking:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def _fields(**fields: Any) -> Callable[[Draft], None]:
    return lambda draft: draft.config.update(fields)


def _file(name: str, content: bytes | str) -> Callable[[Path], None]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw) and None


def _pickled(name: str) -> Callable[[Path], None]:
    return lambda folder: _file(name, pickle.dumps(_Marking(folder.parent / MARKER)))(folder)


def _program(name: str) -> Callable[[Path], None]:
    return lambda folder: _file(name, f"open({str(folder.parent / MARKER)!r}, 'w').close()\n")(folder)


def _instead(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return replace


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _drop(*words: str) -> Callable[[Draft], None]:
    def drop(draft: Draft) -> None:
        gone = [name for name in draft.tensors if any(word in name for word in words)]
        assert gone
        for name in gone:
            del draft.tensors[name]

    return drop


def _put(name: str, *shape: int, **kind: Any) -> Callable[[Draft], None]:
    return lambda draft: draft.put(name, *shape, **kind)


def _renamed(draft: Draft) -> None:
    draft.tensors = {f"x.{name}": tensor for name, tensor in draft.tensors.items()}


def _text(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, lambda text: text.replace(old, new, 1))


def _cut(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 5000)


def _grown(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"\0" * 12)


def _sparse(size: int, *, length: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(length.to_bytes(8, "little") + b"{")
        os.truncate(folder / WEIGHTS, size)

    return make


def _header(text: str) -> Callable[[Path], None]:
    return _file(WEIGHTS, framed(text.encode()))


def _note(**changes: Any) -> Callable[[Path], None]:
    base = {**vars(BASE.fingerprint), **changes}
    return _file(SIDECAR, json.dumps({"skipstep_adapter": 1, "base": base}))


def _many(folder: Path) -> None:
    for number in range(40):
        (folder / f"README{number}.md").touch()


_ENTRY = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
_EMPTY = ",".join(f'"t{number}":{_ENTRY}' for number in range(60_000))
_TWO = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
_METADATA = ",".join(f'"{number}":""' for number in range(500_000))

FILES = [
    Broken("pickle-bin", "adapter_model.bin: is a pickle", folder=_pickled("adapter_model.bin")),
    Broken("pickle-pt", "training_args.pt: is a pickle", folder=_pickled("training_args.pt")),
    Broken("pickle-upper-case", "x.PKL: is a pickle", folder=_pickled("x.PKL")),
    Broken("pickle-as-weights", f"{WEIGHTS}: is no safetensors", folder=_pickled(WEIGHTS)),
    Broken("pickle-as-config", f"{CONFIG}: is not UTF-8", folder=_pickled(CONFIG)),
    Broken("program", "modeling.py: is a program", folder=_program("modeling.py")),
    Broken("template", "chat_template.jinja: is a program", folder=_file("chat_template.jinja", "{{ 1 }}")),
    Broken("unknown-file", "tokenizer.json: does not belong", folder=_file("tokenizer.json", "{}")),
    Broken("sub-folder", "more: is no regular file", folder=lambda folder: (folder / "more").mkdir()),
    Broken("link-beside", "y.txt: is a link", folder=lambda folder: (folder / "y.txt").symlink_to("/etc/passwd")),
    Broken("link-config", f"{CONFIG}: is a link", folder=_instead(CONFIG, lambda path: path.symlink_to("/etc/passwd"))),
    Broken(
        "link-weights", f"{WEIGHTS}: is a link", folder=_instead(WEIGHTS, lambda path: path.symlink_to("/dev/zero"))
    ),
    Broken("pipe-config", f"{CONFIG}: is no regular", folder=_instead(CONFIG, os.mkfifo)),
    Broken("pipe-weights", f"{WEIGHTS}: is no regular", folder=_instead(WEIGHTS, os.mkfifo)),
    Broken("socket-config", f"{CONFIG}: is no regular", folder=_instead(CONFIG, _socket)),
    Broken("no-config", f"{CONFIG}: is missing", folder=lambda folder: (folder / CONFIG).unlink()),
    Broken("no-weights", f"{WEIGHTS}: is missing", folder=lambda folder: (folder / WEIGHTS).unlink()),
    Broken("many-files", "folder: has more than 32", folder=_many),
    Broken("a name with spaces; rm", "name: "),
    Broken("x" * 80, "name: "),
]
HEADERS = [
    Broken("cut", f"{WEIGHTS}: has ", folder=_cut),
    Broken("trailing-bytes", f"{WEIGHTS}: has ", folder=_grown),
    Broken("empty-file", f"{WEIGHTS}: is no safetensors", folder=_file(WEIGHTS, b"")),
    Broken("header-of-2-to-63", f"{WEIGHTS}: is no safetensors", folder=_sparse(4096, length=2**63)),
    Broken("header-too-large", f"{WEIGHTS}: has a header of", folder=_sparse(20 * 2**20, length=9 * 2**20)),
    Broken("file-too-large", f"{WEIGHTS}: has 3221225472 bytes", folder=_sparse(3 * 2**30, length=64)),
    Broken("header-of-brackets", f"{WEIGHTS}: ", folder=_header("[" * 8_000_000)),
    Broken("header-deep", f"{WEIGHTS}: ", folder=_header('{"a":' * 1_500_000)),
    Broken("entry-deep", f"{WEIGHTS}: ", folder=_header('{"a":{"shape":' + "[" * 300 + "]" * 300 + "}}")),
    Broken("header-many-tensors", f"{WEIGHTS}: has more than 10000", folder=_header("{" + _EMPTY + "}")),
    Broken("metadata-bomb", f"{WEIGHTS}: __metadata__", folder=_header('{"__metadata__":{' + _METADATA + "}}")),
    Broken("header-long-name", f"{WEIGHTS}: ", folder=_header('{"' + "a" * 8_000_000 + '":1}')),
    Broken("header-not-utf8", f"{WEIGHTS}: the header is not", folder=_file(WEIGHTS, framed(b'{"\xff":1}'))),
    Broken("header-goes-on", f"{WEIGHTS}: the header goes", folder=lambda folder: rewrite(folder, lambda t: t + "{}")),
    Broken("header-without-tensors", "tensors: there are none", folder=_file(WEIGHTS, framed(b'{"__metadata__":{}}'))),
    Broken("tensor-twice", f"{WEIGHTS}: a is in the header twice", folder=_header(f'{{"a":{_ENTRY},"a":{_ENTRY}}}')),
    Broken("metadata-numbers", f"{WEIGHTS}: ", folder=_text('"format": "pt"', '"format": 1')),
    Broken(
        "entry-key-twice", f"{WEIGHTS}: the entry", folder=_text('"dtype": "F32"', '"dtype": "F32", "dtype": "F32"')
    ),
    Broken("entry-more-keys", f"{WEIGHTS}: the entry", folder=_text('"dtype": "F32"', '"dtype": "F32", "x": 1')),
    Broken("negative-offset", f"{WEIGHTS}: shape or data_offsets", folder=_text("[0, 512]", "[-512, 0]")),
    Broken("shape-of-text", f"{WEIGHTS}: shape or data_offsets", folder=_text("[4, 32]", '["4", 32]')),
    Broken("shape-of-truth", f"{WEIGHTS}: shape or data_offsets", folder=_text("[4, 32]", "[true, 32]")),
    Broken("shape-huge", f"{WEIGHTS}: shape or data_offsets", folder=_text("[4, 32]", f"[{10**30}, 32]")),
    Broken("shape-too-large", f"{WEIGHTS}: data_offsets of", folder=_text("[4, 32]", "[4, 33]")),
    Broken("overlapping", f"{WEIGHTS}: the offsets of", folder=_text("[512, 1024]", "[0, 512]")),
    Broken("one-place-for-two", f"{WEIGHTS}: the offsets of", folder=_file(WEIGHTS, framed(_TWO.encode(), b"\0" * 8))),
    Broken("gap", f"{WEIGHTS}: the offsets of", folder=_text("[0, 512]", "[4, 516]")),
    Broken("integers", f"{WEIGHTS}: dtype I64", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN, dtype="I64")),
    Broken("doubles", f"{WEIGHTS}: dtype F64", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN, dtype="F64")),
]
TENSORS = [
    Broken("only-a", "module ", draft=_drop("lora_B")),
    Broken("half-of-a-pair", "module model.layers.1.self_attn.q_proj", draft=_drop("1.self_attn.q_proj.lora_A")),
    Broken("both-halves-gone", "target_modules: tensors of model.layers.1.", draft=_drop("1.self_attn.q_proj")),
    Broken("a-layer-gone", "target_modules: tensors of model.layers.2.", draft=_drop(".2.")),
    Broken("a-kind-gone", "target_modules: names v_proj", draft=_drop("v_proj")),
    Broken("all-gone", "tensors: there are none", draft=_drop("lora")),
    Broken("renamed", "tensor 'x.base_model", draft=_renamed),
    Broken(
        "base-weight", "tensor 'base_model.model.lm_head", draft=_put("base_model.model.lm_head.weight", 64, HIDDEN)
    ),
    Broken("path-in-name", "tensor 'base_model.model.../", draft=_put("base_model.model.../../x.lora_A.weight", 4, 8)),
    Broken("dunder-in-name", "module a.__class__", draft=_put("base_model.model.a.__class__.lora_A.weight", 4, 8)),
    Broken("long-name", "tensor 'base_model", draft=_put(f"base_model.model.{'a' * 500}.lora_A.weight", 4, 8)),
    Broken("other-family", "tensor ", draft=_put(f"{Q}.lora_magnitude_vector", HIDDEN)),
    Broken("ranks-differ", "shape of model.layers.0.", draft=_put(f"{Q}.lora_A.weight", 3, HIDDEN)),
    Broken("three-axes", "shape of model.layers.0.", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN, 1)),
    Broken("other-inputs", "shape of model.layers.0.", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN + 1)),
    Broken("other-outputs", "shape of model.layers.0.", draft=_put(f"{Q}.lora_B.weight", HIDDEN + 1, 4)),
    Broken("other-module", "module lm_head", draft=_put("base_model.model.lm_head.lora_A.weight", 4, HIDDEN)),
    Broken("nan", "tensor base_model", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN, fill=b"\0\0\xc0\x7f")),
    Broken("infinite", "tensor base_model", draft=_put(f"{Q}.lora_B.weight", HIDDEN, 4, fill=b"\0\0\x80\xff")),
    Broken("nan-half", "tensor ", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN, dtype="F16", fill=b"\x01\x7c")),
    Broken("nan-bfloat", "tensor ", draft=_put(f"{Q}.lora_A.weight", 4, HIDDEN, dtype="BF16", fill=b"\xc0\xff")),
]
FIELDS = [
    Broken("rank-of-a-million", "r: must be a whole number of 1..256", draft=_fields(r=10**6)),
    Broken("rank-0", "r: must be", draft=_fields(r=0)),
    Broken("rank-true", "r: must be", draft=_fields(r=True)),
    Broken("rank-other", "r: gives model.layers.0.", draft=_fields(r=8)),
    Broken("pattern-of-a-million", "rank_pattern: must have", draft=_fields(rank_pattern={"q_proj": 10**6})),
    Broken("pattern-regex", "rank_pattern: '(a+)+$'", draft=_fields(rank_pattern={"(a+)+$": 4})),
    Broken("alpha-regex", "alpha_pattern: '.*'", draft=_fields(alpha_pattern={".*": 4})),
    Broken("alpha-of-no-module", "alpha_pattern: names 'k_proj'", draft=_fields(alpha_pattern={"k_proj": 4})),
    Broken("alpha-list", "alpha_pattern: must be an object", draft=_fields(alpha_pattern=[1])),
    Broken("alpha-text", "lora_alpha: must be a number", draft=_fields(lora_alpha="8")),
    Broken("alpha-huge", "lora_alpha: must be a number", draft=_fields(lora_alpha=10**9)),
    Broken("alpha-nan", f"{CONFIG}: has the number NaN", draft=_fields(lora_alpha=float("nan"))),
    Broken("alpha-infinite", f"{CONFIG}: has the number Infinity", draft=_fields(lora_alpha=float("inf"))),
    Broken("target-regex", "target_modules: '(a|a?)+$'", draft=_fields(target_modules="(a|a?)+$")),
    Broken("target-regex-listed", "target_modules: '.*q_proj'", draft=_fields(target_modules=[".*q_proj"])),
    Broken("target-none", "target_modules: must be a list", draft=_fields(target_modules=None)),
    Broken("target-number", "target_modules: '7'", draft=_fields(target_modules=[7])),
    Broken("target-many", "target_modules: must be a list", draft=_fields(target_modules=["a"] * 5000)),
    Broken("target-unnamed", "target_modules: does not name", draft=_fields(target_modules=["q_proj"])),
    Broken("target-more", "target_modules: names k_proj", draft=_fields(target_modules=["q_proj", "v_proj", "k_proj"])),
    Broken("layers-text", "layers_to_transform: must", draft=_fields(layers_to_transform=["0"])),
    Broken(
        "auto-mapping", "auto_mapping: ", draft=_fields(auto_mapping={"base_model_class": "os", "parent_library": "os"})
    ),
    Broken("megatron-config", "megatron_config: ", draft=_fields(megatron_config={"x": 1})),
    Broken("megatron-core", "megatron_core: 'os'", draft=_fields(megatron_core="os")),
    Broken("modules-to-save", "modules_to_save: ", draft=_fields(modules_to_save=["lm_head"])),
    Broken("bias", "bias: 'all'", draft=_fields(bias="all")),
    Broken("pissa", "init_lora_weights: 'pissa_niter_4'", draft=_fields(init_lora_weights="pissa_niter_4")),
    Broken("init-list", "init_lora_weights: must be", draft=_fields(init_lora_weights=[])),
    Broken("loftq", "loftq_config: ", draft=_fields(loftq_config={"loftq_bits": 4})),
    Broken("replication", "layer_replication: ", draft=_fields(layer_replication=[[0, 2]])),
    Broken("parameters", "target_parameters: ", draft=_fields(target_parameters=["x"])),
    Broken("token-rows", "trainable_token_indices: ", draft=_fields(trainable_token_indices=[1])),
    Broken("layers-regex", "layers_pattern: ", draft=_fields(layers_pattern=".*")),
    Broken("unknown-field", "trust_remote_code: is no field", draft=_fields(trust_remote_code=True)),
    Broken("unknown-family", "peft_type: must be one of", draft=_fields(peft_type="EVIL")),
    Broken("family-list", "peft_type: must be one of", draft=_fields(peft_type=["LORA"])),
    Broken("other-task", "task_type: must be CAUSAL_LM", draft=_fields(task_type="SEQ_CLS")),
    Broken("switch-text", "use_rslora: must be true or false", draft=_fields(use_rslora="yes")),
    Broken("both-kinds", "use_dora: ", draft=_fields(use_rslora=True, use_dora=True)),
    Broken("dora-without-vectors", "module model.layers.0.", draft=_fields(use_dora=True)),
]
TEXTS = [
    Broken("config-bom", f"{CONFIG}: begins with a byte order", folder=_file(CONFIG, b"\xef\xbb\xbf{}")),
    Broken("config-utf16", f"{CONFIG}: begins with a byte order", folder=_file(CONFIG, "{}".encode("utf-16"))),
    Broken("config-utf16-bare", f"{CONFIG}: is no JSON", folder=_file(CONFIG, "{}".encode("utf-16-le"))),
    Broken("config-latin", f"{CONFIG}: is not UTF-8", folder=_file(CONFIG, b'{"\xe9": 1}')),
    Broken("config-list", f"{CONFIG}: must be a JSON object", folder=_file(CONFIG, "[]")),
    Broken("config-empty", f"{CONFIG}: is no JSON", folder=_file(CONFIG, "")),
    Broken("config-deep", f"{CONFIG}: is nested too deeply", folder=_file(CONFIG, "[" * 500_000)),
    Broken("config-deep-objects", f"{CONFIG}: is nested too deeply", folder=_file(CONFIG, '{"r":' * 100_000)),
    Broken("config-huge", f"{CONFIG}: has 600002 bytes", folder=_file(CONFIG, "[" + " " * 600_000 + "]")),
    Broken("config-key-twice", "r: is in", folder=_file(CONFIG, '{"peft_type": "LORA", "r": 4, "r": 1000000}')),
    Broken("config-long-number", f"{CONFIG}: has a number of 5000", folder=_file(CONFIG, '{"r": ' + "9" * 5000 + "}")),
    Broken("config-overflow", f"{CONFIG}: has the number 1e999", folder=_file(CONFIG, '{"lora_alpha": 1e999}')),
    Broken("other-base-size", "hidden_size: the adapter was made for", folder=_note(hidden_size=HIDDEN * 2)),
    Broken("other-base-weights", "sample: the adapter was made for", folder=_note(sample="b" * 64)),
    Broken("note-types", "base: ", folder=_note(layers="3")),
    Broken("note-version", "skipstep_adapter: ", folder=_file(SIDECAR, '{"skipstep_adapter": 99}')),
    Broken("note-huge", f"{SIDECAR}: has 5000 bytes", folder=_file(SIDECAR, " " * 5000)),
]
BROKEN = [*FILES, *HEADERS, *TENSORS, *FIELDS, *TEXTS]


def made(root: Path) -> Iterator[tuple[Broken, Path]]:
    """All of them as folders in `root`."""
    for broken in BROKEN:
        yield broken, broken.make(root)
