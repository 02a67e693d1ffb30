"""Compiled graphs on a CUDA device: equality in half precision, CUDA graphs, memory, and no further compilation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from skipstep.compile import CompileOptions, Compiler, GraphStore
from skipstep.deepcache import DeepCache
from skipstep.engine import ImageEngine, ImageRequest, load_model
from skipstep.engine.metrics import latent_psnr

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
ROUNDING_DB = {"float16": 50.0, "bfloat16": 38.0}  # of the demo between its own eager runs in that type and in float32


def request_of(seed: int = 1, **changes: object) -> ImageRequest:
    options = {"prompt": "a fox on a blue background", "steps": 12, "cache": DeepCache(interval=3), **changes}
    return ImageRequest(seed=seed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("inductor", CompileOptions(verify=True)),
        ("inductor", CompileOptions(verify=True, cuda_graphs=True)),
        ("inductor", CompileOptions(verify=True, channels_last=True)),
        ("inductor", CompileOptions(verify=True, regional=True)),
        ("aot", CompileOptions(verify=True)),
    ],
    ids=["inductor", "cuda-graphs", "channels-last", "regional", "aot"],
)
def test_compiled_pictures_equal_eager_ones(backend: str, options: CompileOptions, dtype: str, tmp_path: Path) -> None:
    model = load_model("demo", device="cuda", dtype=dtype)
    eager = ImageEngine(model).generate(request_of())
    compiler = Compiler(backend, options, store=GraphStore(tmp_path))
    engine = ImageEngine(model, compiler=compiler)
    made = [engine.generate(request_of()) for _ in range(3)]
    assert compiler.counters.failures == []
    for one in made:
        assert one.report.passes == eager.report.passes
        assert latent_psnr(eager.latents, one.latents) > ROUNDING_DB[dtype]
    compiles = compiler.counters.compiles
    for seed, steps in ((2, 10), (3, 20), (4, 30)):
        engine.generate(request_of(seed, steps=steps, prompt="a car on a red background"))
    assert compiler.counters.compiles == compiles
    compiler.clear()


def test_cuda_graphs_keep_the_features_of_earlier_passes() -> None:
    """A recorded graph writes its outputs to one place: without copies a forecast would see the newest twice."""
    model = load_model("demo", device="cuda", dtype="float32")
    options = DeepCache(interval=4, forecast="quadratic")
    eager = ImageEngine(model).generate(request_of(steps=20, cache=options))
    compiler = Compiler("inductor", CompileOptions(cuda_graphs=True))
    engine = ImageEngine(model, compiler=compiler)
    for _ in range(4):  # recorded in the second run, replayed from then on
        made = engine.generate(request_of(steps=20, cache=options))
    assert latent_psnr(eager.latents, made.latents) > 60


def test_peak_memory_is_that_of_the_model_and_a_few_features() -> None:
    model = load_model("demo", device="cuda", dtype="float16")

    def peak(engine: ImageEngine) -> int:
        engine.generate(request_of())
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        engine.generate(request_of())
        return torch.cuda.max_memory_allocated()

    plain = peak(ImageEngine(model))
    compiled = peak(ImageEngine(model, compiler=Compiler("inductor")))
    assert compiled <= 1.1 * plain
