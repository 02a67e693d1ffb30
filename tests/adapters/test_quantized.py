"""Base models in 4 and 8 bits: the values are QLoRA's, and a LoRA that was trained in float32 works on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_adapters import FAMILIES, make_adapter, seeded
from tiny_llm import batches, language, tiny_llama
from torch import Tensor

from skipstep.adapters import base_of_folder, base_of_module, inspect_adapter
from skipstep.adapters.loop import LoopOptions, accumulate_gradients, mean_loss
from skipstep.adapters.peft_model import with_adapter
from skipstep.adapters.quantized import load_quantized
from skipstep.errors import AdapterError, OptionError

bitsandbytes = pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")

# NormalFloat's 16 values as QLoRA's authors print them (arXiv:2305.14314, appendix E)
NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)
TAUGHT, OTHER = language(0), language(1)
TARGETS = ["q_proj", "v_proj", "up_proj", "down_proj"]


def decoded(packed: Tensor, sizes: Tensor, shape: torch.Size) -> Tensor:
    """4-bit numbers, two in a byte with the high one first, as values in blocks of 64 of the sizes given."""
    numbers = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).long()
    return (NF4[numbers].reshape(-1, 64) * sizes[:, None]).reshape(shape)


def encoded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest values, and the largest magnitude of each block."""
    blocks = weight.reshape(-1, 64)
    sizes = blocks.abs().amax(1)
    numbers = ((blocks / sizes[:, None])[..., None] - NF4).abs().argmin(-1).flatten()
    return (numbers[::2] << 4 | numbers[1::2]).to(torch.uint8), sizes


def train(model: Any, table: Tensor, parameters: list[Any], *, steps: int) -> None:
    options = LoopOptions(steps=steps, learning_rate=1e-2)
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    for step, batch in enumerate(batches(table, count=steps)):
        accumulate_gradients(model, batch, parameters, options=options, step=step)
        optimizer.step()
        optimizer.zero_grad()


def loss(model: Any, table: Tensor) -> float:
    return mean_loss(model, batches(table, count=4, seed=1000))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of one language, and a LoRA in float32 that teaches it another."""
    folder = tmp_path_factory.mktemp("trained")
    model = tiny_llama()
    train(model, TAUGHT, list(model.parameters()), steps=120)
    model.save_pretrained(str(folder / "base"))
    with seeded():
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=TARGETS, task_type="CAUSAL_LM"))
        train(adapted, OTHER, [one for one in adapted.parameters() if one.requires_grad], steps=60)
        adapted.save_pretrained(str(folder / "lora"))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model that adapters of all families are made for."""
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny_llama(std=0.2).save_pretrained(str(folder))
    return folder


def test_the_table_is_that_of_the_papers_formula() -> None:
    high, low = (
        torch.special.ndtri(torch.linspace(0.9677083, 0.5, count, dtype=torch.float64))[:-1] for count in (9, 8)
    )
    values = torch.cat([-low, torch.zeros(1), high]).sort().values
    assert torch.allclose(values / values.max(), NF4.double(), rtol=0, atol=2e-7)


@pytest.mark.parametrize("shape", [(64, 64), (96, 128), (1, 64)])
def test_blocks_are_read_and_written_as_bitsandbytes_does(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4", blocksize=64)
    ours = decoded(packed, state.absmax, weight.shape)
    assert torch.equal(ours, bitsandbytes.functional.dequantize_4bit(packed, state))
    assert 0.01 < float((ours - weight).abs().mean()) < 0.1
    numbers, sizes = encoded(weight)
    assert torch.equal(sizes, state.absmax)
    assert torch.equal(numbers, packed.flatten())


def test_a_loaded_model_has_these_values(trained: Path) -> None:
    plain = tiny_llama().__class__.from_pretrained(trained / "base")
    model = load_quantized(trained / "base", "nf4")
    assert not model.training
    kinds = {name: type(module).__name__ for name, module in model.named_modules() if name.endswith(("_proj", "head"))}
    assert {kind for name, kind in kinds.items() if name != "lm_head"} == {"Linear4bit"}
    assert kinds["lm_head"] == "Linear"
    weight = model.model.layers[1].mlp.up_proj.weight
    state = weight.quant_state
    assert (state.blocksize, state.state2.blocksize, weight.dtype) == (64, 256, torch.uint8)
    sizes = state.state2.code[state.absmax.long()] * state.state2.absmax.repeat_interleave(256)[: len(state.absmax)]
    sizes = sizes + state.offset
    ours = decoded(weight, sizes, state.shape)
    assert torch.equal(ours, bitsandbytes.functional.dequantize_4bit(weight, state))
    exact = plain.model.layers[1].mlp.up_proj.weight
    assert torch.allclose(sizes, exact.detach().reshape(-1, 64).abs().amax(1), rtol=0.1)
    assert 0 < float((ours - exact).detach().norm() / exact.detach().norm()) < 0.15
    assert torch.equal(model.model.norm.weight, plain.model.norm.weight)
    assert base_of_module(model).fingerprint == base_of_folder(trained / "base").fingerprint


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_lora_trained_in_float32_works_on_it(quantization: str, trained: Path) -> None:
    plain = tiny_llama().__class__.from_pretrained(trained / "base")
    quantized = load_quantized(trained / "base", quantization)
    info = inspect_adapter(trained / "lora", base=base_of_module(quantized))
    before, taught = loss(plain, OTHER), loss(plain, TAUGHT)
    assert loss(quantized, TAUGHT) == pytest.approx(taught, rel=0.1)
    exact, found = loss(with_adapter(plain, info), OTHER), loss(with_adapter(quantized, info), OTHER)
    assert taught < 3.0 < before  # ln 32 is 3.47
    assert exact < before - 0.5
    assert found == pytest.approx(exact, rel=0.1)
    assert found != exact


def test_a_lora_is_trained_on_it_and_the_base_stays(trained: Path, tmp_path: Path) -> None:
    model = load_quantized(trained / "base")
    packed = model.model.layers[0].self_attn.q_proj.weight.clone()
    before = loss(model, OTHER)
    with seeded():
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=TARGETS, task_type="CAUSAL_LM"))
        train(adapted, OTHER, [one for one in adapted.parameters() if one.requires_grad], steps=30)
    after = loss(adapted, OTHER)
    assert after < before - 0.3
    assert torch.equal(model.model.layers[0].self_attn.q_proj.weight, packed)
    adapted.save_pretrained(str(tmp_path / "lora"))
    plain = tiny_llama().__class__.from_pretrained(trained / "base")
    info = inspect_adapter(tmp_path / "lora", base=base_of_module(plain))
    assert loss(with_adapter(plain, info), OTHER) == pytest.approx(after, rel=0.1)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("prompt tuning", "p-tuning")])
@pytest.mark.parametrize(("quantization", "unfit"), [("nf4", ("LoHa", "LoKr")), ("int8", ("DoRA",))])
def test_other_families_work_over_it_or_are_refused(
    quantization: str, unfit: tuple[str, ...], name: str, base: Path, tmp_path: Path
) -> None:
    info = inspect_adapter(make_adapter(name, tmp_path / "made"), base=base_of_folder(base))
    model = load_quantized(base, quantization)
    words = torch.arange(12)[None]
    with torch.no_grad(), seeded():
        plain = model(words).logits
        if info.family in unfit:
            with pytest.raises(AdapterError, match=f"^family: {info.family} does not work over Linear"):
                with_adapter(model, info)
        else:
            assert float((with_adapter(model, info)(words).logits - plain).abs().max()) > 0.5


def test_other_folders_and_kinds_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="quantization must be one of nf4, int8, got 'fp4'"):
        load_quantized(trained / "base", "fp4")
    with pytest.raises(AdapterError, match=r"^config.json: cannot be read"):
        load_quantized(tmp_path / "missing")
    (tmp_path / "base").mkdir()
    for file in (trained / "base").iterdir():
        (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    with pytest.raises(AdapterError, match="^quantization_config: .* is quantised; name the folder"):
        load_quantized(tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text(json.dumps({**config, "model_type": "no-such-model"}))
    with pytest.raises(AdapterError, match="^cannot load .*base: "):
        load_quantized(tmp_path / "base")


def test_without_bitsandbytes_it_says_what_to_install(trained: Path) -> None:
    program = (
        "import sys; sys.modules['bitsandbytes'] = None\n"
        "from skipstep.adapters.quantized import load_quantized\n"
        "try:\n    load_quantized(sys.argv[1])\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(trained / "base")], capture_output=True, text=True)
    assert run.stdout.startswith("MissingExtraError models in nf4 need bitsandbytes: pip install 'skipstep[")
