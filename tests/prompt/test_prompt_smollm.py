"""Both engines with the model of `skipstep prompt fetch --transformers`, where that is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import asked, written
from tiny_engines import greedy

from skipstep.promptllm import (
    AdapterShelf,
    AdapterUse,
    Engine,
    GgufEngine,
    HfEngine,
    fetched_model,
    load_preset,
    unpacked_model,
)
from skipstep.promptllm.answer import SCHEMA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    if not (unpacked_model() / "config.json").is_file():
        pytest.skip("needs the model of `skipstep prompt fetch --transformers`")
    return unpacked_model()


@pytest.fixture(scope="module")
def hf(folder: Path) -> Iterator[HfEngine]:
    engine = HfEngine(folder, device="cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def gguf() -> Iterator[GgufEngine]:
    pytest.importorskip("xllamacpp")
    if not fetched_model().is_file():
        pytest.skip("needs the model of `skipstep prompt fetch`")
    engine = GgufEngine(fetched_model())
    yield engine
    engine.close()


PROMPTS = ("a cat on a beach", "an old lighthouse", "a robot gardener", "two children on a sledge", "a bowl of plums")


def dense(source: Path, out: Path) -> Path:
    """The same GGUF file with all tensors in float32, as transformers has them."""
    import gguf

    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(out), "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values.reshape([int(size) for size in reversed(tensor.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def test_the_rewriter_writes_the_same_text_in_both_engines(hf: HfEngine, gguf: GgufEngine, tmp_path: Path) -> None:
    """Of the same float32 model: llama.cpp's 4-bit kernels round the base model's sums, and change words."""
    unquantised = GgufEngine(dense(fetched_model(), tmp_path / "dense.gguf"))

    def text(engine: Engine, prompt: str, *, scale: float | None) -> str:
        uses = () if scale is None else (AdapterUse(name="rewriter", scale=scale),)
        stack = AdapterShelf(engine).stack(uses)
        return written(engine, asked(greedy(prompt=prompt, max_tokens=40), engine, stack=stack, repeat_penalty=1.0))

    for prompt in PROMPTS:
        expected = text(hf, prompt, scale=1.0)
        assert text(unquantised, prompt, scale=1.0) == expected
        plain = text(gguf, prompt, scale=None)
        assert text(gguf, prompt, scale=0.0) == plain
        assert text(gguf, prompt, scale=1.0) not in (plain, "")
    unquantised.close()


def test_gguf_writes_twice_as_fast(hf: HfEngine, gguf: GgufEngine) -> None:
    seconds: dict[str, list[float]] = {"hf": [], "gguf": []}
    for _ in range(3):
        for engine in (hf, gguf):
            took = []
            for tokens in (1, 33):  # their difference leaves reading the question out
                question = asked(greedy(preset=load_preset("plain"), max_tokens=tokens), engine, max_tokens=tokens)
                started = time.process_time()
                written(engine, question)
                took.append(time.process_time() - started)
            seconds[engine.name].append(took[1] - took[0])
    assert min(seconds["hf"]) >= 2 * min(seconds["gguf"])


def test_20_of_20_answers_follow_the_schema(hf: HfEngine) -> None:
    preset = load_preset("plain")
    questions = [
        asked(
            greedy(prompt="a robot gardener", preset=preset, seed=seed, temperature=0.8, schema=True),
            hf,
            max_tokens=192,
        )
        for seed in range(20)
    ]
    for answer in hf.generate_all(questions):
        assert set(json.loads(answer.text)) == set(SCHEMA["properties"])  # type: ignore[call-overload, union-attr]


MEMORY = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from scripted import asked, written
from tiny_engines import greedy
from skipstep.promptllm import HfEngine
def resident():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
engine = HfEngine(Path(sys.argv[1]), device="cpu")
answer = written(engine, asked(greedy(), engine))
size, loaded = engine.loaded_bytes, resident()
engine.close()
freed = loaded - resident()
assert written(engine, asked(greedy(), engine)) == answer
print(freed / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_closing_gives_the_memory_back(folder: Path) -> None:
    tests = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder), str(tests / "prompt"), str(tests)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) >= 0.8
