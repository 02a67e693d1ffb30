"""Adapters on the prompt model: added, stacked, each to its row, swapped, removed, and the model as it was after."""

from __future__ import annotations

import gc
import importlib.util
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from scripted import ScriptedEngine, asked, written
from tiny_engines import CONFIGS, greedy, tiny_adapter
from torch import Tensor
from transformers import AutoModelForCausalLM

from skipstep.adapters import AdapterInfo, base_of_folder, inspect_adapter
from skipstep.errors import AdapterError, OptionError
from skipstep.promptllm import (
    AdapterShelf,
    AdapterUse,
    Answer,
    ClipTokens,
    Engine,
    ExpansionFolder,
    GgufEngine,
    HfEngine,
    PromptExpander,
    Stacked,
    parsed_use,
)
from skipstep.promptllm.peft_stack import PeftStack

Make = Callable[..., AdapterInfo]
needs_gguf = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs xllamacpp: pip install 'skipstep[prompt]'"
)
WORDS = torch.randint(5, 280, (3, 12), generator=torch.Generator().manual_seed(1))
SCALED = ["LoRA", "wide LoRA", "patterned LoRA", "rsLoRA", "AdaLoRA", "LoHa", "LoKr"]
WHOLE = ["DoRA", "IA3", "OFT", "VeRA", "prompt tuning", "p-tuning", "prefix tuning"]


@pytest.fixture(scope="module")
def make(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Adapters by kind and seed, each made once."""
    made: dict[tuple[str, int], AdapterInfo] = {}
    base = base_of_folder(tiny_model)

    def one(kind: str, seed: int = 7) -> AdapterInfo:
        if (kind, seed) not in made:
            folder = tmp_path_factory.mktemp("adapters") / f"{kind.replace(' ', '-')}-{seed}"
            made[kind, seed] = inspect_adapter(tiny_adapter(kind, tiny_model, folder, seed=seed), base=base)
        return made[kind, seed]

    return one


def fresh(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(tiny_model)).eval()


def logits(model: Any, **names: Any) -> Tensor:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's calls of what transformers renamed
        found: Tensor = model(WORDS, **names).logits[:, -WORDS.shape[1] :]
    return found


def as_peft_has_it(tiny_model: Path, info: AdapterInfo) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logits(peft.PeftModel.from_pretrained(fresh(tiny_model), str(info.path)).eval())


@pytest.mark.parametrize("kind", CONFIGS)
def test_each_family_answers_as_peft_has_it_and_leaves_no_trace(kind: str, tiny_model: Path, make: Make) -> None:
    model = fresh(tiny_model)
    plain = logits(model)
    stack = PeftStack(model)
    info = make(kind)
    with stack.used([Stacked(info=info, scale=1.0)]) as adapted:
        assert torch.equal(logits(adapted), as_peft_has_it(tiny_model, info))
        assert not torch.equal(logits(adapted), plain)
    with stack.used([]) as disabled:
        assert torch.equal(logits(disabled), plain)
    stack.forget(info)
    with stack.used([]) as base:
        assert base is model
        assert torch.equal(logits(base), plain)
    assert set(model.state_dict()) == set(fresh(tiny_model).state_dict())


@pytest.mark.parametrize("kind", SCALED)
def test_a_scale_multiplies_what_a_layer_is_given(kind: str, tiny_model: Path, make: Make) -> None:
    """Of one layer, whose inputs are the same with and without."""
    model = fresh(tiny_model)
    name = "model.layers.0.self_attn.q_proj"
    inputs = torch.randn(4, 64, generator=torch.Generator().manual_seed(2))

    def effect(stack: PeftStack, uses: list[Stacked]) -> Tensor:
        with stack.used(uses) as adapted, torch.no_grad():
            whole = adapted.get_submodule(name if not uses else f"base_model.model.{name}")
            return whole(inputs)

    stack = PeftStack(model)
    plain = effect(stack, [])
    first, second = make(kind), make(kind, 8)
    once = effect(stack, [Stacked(info=first, scale=1.0)]) - plain
    other = effect(stack, [Stacked(info=second, scale=1.0)]) - plain
    for uses, expected in (
        ([Stacked(info=first, scale=-0.5)], -0.5 * once),
        ([Stacked(info=first, scale=1.5), Stacked(info=second, scale=0.25)], 1.5 * once + 0.25 * other),
    ):
        assert torch.allclose(effect(stack, uses) - plain, expected, atol=1e-5)
    again = effect(stack, [Stacked(info=first, scale=1.0)]) - plain
    assert torch.equal(again, once)  # scales are put back


@pytest.mark.parametrize("kind", WHOLE)
def test_families_that_act_as_a_whole_refuse_scales_and_stacks(kind: str, hf: HfEngine, make: Make) -> None:
    one, lora = Stacked(info=make(kind), scale=1.0), Stacked(info=make("LoRA"), scale=1.0)
    with pytest.raises(AdapterError, match=rf"scale: {kind} .* acts as a whole; use 1"):
        written(hf, asked(greedy(), hf, stack=[Stacked(info=make(kind), scale=0.5)]))
    with pytest.raises(AdapterError, match=rf"family: {kind} .* cannot be stacked"):
        written(hf, asked(greedy(), hf, stack=[lora, one]))
    with pytest.raises(AdapterError, match="cannot be stacked; stack adapters of one kind"):
        written(hf, asked(greedy(), hf, stack=[lora, Stacked(info=make("LoHa"), scale=1.0)]))
    assert written(hf, asked(greedy(), hf, stack=[one]))


def test_rows_with_loras_of_their_own_are_as_alone(tiny_model: Path, make: Make) -> None:
    stack = PeftStack(fresh(tiny_model))
    kinds = {
        name: Stacked(info=make(name), scale=scale)
        for name, scale in (("LoRA", 1.0), ("rsLoRA", 0.5), ("patterned LoRA", -0.25), ("wide LoRA", 2.0))
    }
    rows = [[kinds["LoRA"]], [], [kinds["rsLoRA"], kinds["patterned LoRA"], kinds["wide LoRA"]]]
    with stack.rows(rows) as (model, names):
        together = logits(model, adapter_names=names)
    for number, row in enumerate(rows):
        with stack.used(row) as model:
            alone = logits(model)[number]
        assert (together[number] - alone).abs().max() <= 1e-5 * alone.abs().max()
    assert len(stack._peft.peft_config) == 4  # those of rows are gone


@pytest.mark.parametrize("kind", [*WHOLE, "AdaLoRA", "LoHa", "LoKr"])
def test_rows_of_other_families_are_refused(kind: str, tiny_model: Path, make: Make) -> None:
    """PEFT 0.21 would answer the row without it, or mix rows, for most of them without a word."""
    stack = PeftStack(fresh(tiny_model))
    mixed = stack.rows([[Stacked(info=make(kind), scale=1.0)], []])
    with pytest.raises(AdapterError, match=f"family: rows of a batch cannot have a {kind} .*; only LoRA and rsLoRA"):
        mixed.__enter__()


def test_a_batch_of_all_families_is_answered_as_one_by_one(hf: HfEngine, make: Make) -> None:
    kinds = [None, "LoRA", "DoRA", "rsLoRA", "LoHa", "prompt tuning", "LoHa", "IA3"]
    questions = [
        asked(greedy(seed=seed, temperature=0.5), hf, stack=[Stacked(info=make(kind), scale=1.0)] if kind else [])
        for seed, kind in enumerate(kinds)
    ]
    together = hf.generate_all(questions)
    assert [a.text for a in together if isinstance(a, Answer)] == [written(hf, one) for one in questions]


def test_eight_stay_loaded_and_those_used_last(tiny_model: Path, make: Make) -> None:
    stack = PeftStack(fresh(tiny_model))
    infos = [make("LoRA", seed) for seed in range(10)]
    for info in (*infos[:8], infos[0], *infos[8:]):
        with stack.used([Stacked(info=info, scale=1.0)]):
            pass
    assert list(stack._names) == [info.identity for info in (*infos[3:8], infos[0], *infos[8:])]
    assert len(stack._peft.peft_config) == 8


def test_weights_that_change_after_they_were_inspected_are_refused(hf: HfEngine, make: Make, tmp_path: Path) -> None:
    folder = shutil.copytree(make("LoRA").path, tmp_path / "photo")
    info = AdapterShelf(hf).add(folder)
    shutil.copy(make("LoRA", 8).path / "adapter_model.safetensors", folder)
    plain = written(hf, asked(greedy(), hf))
    with pytest.raises(AdapterError, match="photo changed since it was inspected; inspect it again"):
        written(hf, asked(greedy(), hf, stack=[Stacked(info=info, scale=1.0)]))
    assert written(hf, asked(greedy(), hf)) == plain


def engine_of(name: str, tiny_model: Path, tiny_file: Path) -> Engine:
    return HfEngine(tiny_model, device="cpu") if name == "hf" else GgufEngine(tiny_file)


@pytest.mark.parametrize("name", ["hf", pytest.param("gguf", marks=needs_gguf)])
def test_expansions_name_adapters(name: str, tiny_model: Path, tiny_file: Path, make: Make) -> None:
    engine = engine_of(name, tiny_model, tiny_file)
    shelf = AdapterShelf(engine)
    assert shelf.add(make("LoRA").path, name="photo").family == "LoRA"
    shelf.add(make("rsLoRA").path, name="anime")

    def answer(*uses: AdapterUse) -> str:
        return written(engine, asked(greedy(), engine, stack=shelf.stack(uses), repeat_penalty=1.0))

    plain = answer()
    photo, anime = AdapterUse(name="photo"), AdapterUse(name="anime", scale=0.5)
    texts = [plain, answer(photo), answer(anime), answer(photo, anime), answer(AdapterUse(name="photo", scale=0.0))]
    assert len(set(texts)) == 4
    assert texts[4] == plain
    assert answer(photo) == texts[1]
    shelf.add(make("LoRA", 8).path, name="photo", replace=True)
    swapped = answer(photo)
    assert swapped not in texts
    assert sorted(shelf.listed()) == ["anime", "photo"]
    shelf.remove("photo")
    with pytest.raises(OptionError, match="there is no adapter 'photo'; there are: anime"):
        answer(photo)
    assert answer() == plain
    engine.close()
    assert answer(anime) == texts[2]
    engine.close()


@needs_gguf
@pytest.mark.parametrize("kind", ["LoRA", "wide LoRA", "patterned LoRA", "rsLoRA", "AdaLoRA"])
def test_gguf_and_peft_give_tokens_the_same_chances(kind: str, hf: HfEngine, tiny_file: Path, make: Make) -> None:
    """Within what llama.cpp's keys and values in half precision change."""
    gguf = GgufEngine(tiny_file)
    stack = [Stacked(info=make(kind), scale=0.8)]
    for used in (stack, []):
        question = asked(greedy(), gguf, stack=used, repeat_penalty=1.0)
        running = gguf._loaded(question)
        body = {**gguf._body(question, running), "stream": False, "logprobs": 5, "max_tokens": 1}
        answer = running.server.handle_completions(body)
        found = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        model = hf._model()
        with model.adapters.used(used) as adapted, torch.no_grad():
            expected = adapted(torch.tensor([model._tokens(question)])).logits[0, -1].log_softmax(-1)
        assert max(abs(one["logprob"] - expected[one["id"]].item()) for one in found) < 0.02
        assert found[0]["id"] == int(expected.argmax())
    gguf.close()


@needs_gguf
def test_gguf_takes_loras_only(tiny_file: Path, make: Make) -> None:
    with pytest.raises(AdapterError, match="family: DoRA is not among .* gguf, which are AdaLoRA, LoRA, rsLoRA"):
        AdapterShelf(GgufEngine(tiny_file)).add(make("DoRA").path)


def test_kept_expansions_are_those_of_their_adapters(
    tiny_model: Path, make: Make, clip: ClipTokens, tmp_path: Path
) -> None:
    class Adaptable(ScriptedEngine):
        base = base_of_folder(tiny_model)
        families = frozenset({"LoRA"})

    engine = Adaptable("warm light")
    expander = PromptExpander(engine, tokens=clip, kept=ExpansionFolder(tmp_path), adapters=make("LoRA").path.parent)
    expander.adapters.add(make("LoRA").path, name="a")
    uses = ((), (AdapterUse(name="a"),), (AdapterUse(name="a", scale=0.5),))
    for expected in (False, True):
        assert [expander.expand(greedy(adapters=use)).cached for use in uses] == [expected] * 3
    assert expander.expand(greedy(adapters=uses[2])).adapters == ("a@0.5",)
    assert [question.adapters for question in engine.questions][1][0].scale == 1.0
    expander.adapters.add(make("LoRA").path, name="b")
    assert expander.expand(greedy(adapters=(AdapterUse(name="b"),))).cached  # the same weights
    with pytest.raises(AdapterError, match="path: .* is outside"):
        expander.adapters.add(make("rsLoRA").path)
    made = expander.expand_all([greedy(adapters=use) for use in uses] + [greedy(prompt="a dog")])
    assert [one.cached for one in made] == [True, True, True, False]
    with pytest.raises(OptionError, match="there is no adapter 'c'"):
        expander.expand_all([greedy(), greedy(adapters=(AdapterUse(name="c"),))])


def test_the_shelf_s_errors(hf: HfEngine, make: Make) -> None:
    shelf = AdapterShelf(hf)
    shelf.add(make("LoRA").path, name="a")
    with pytest.raises(OptionError, match="there is an adapter a already; take another name"):
        shelf.add(make("LoRA").path, name="a")
    for name in ("", "a/b", "../a", ".a", "a" * 65, "a b", "\u00e9"):
        with pytest.raises(OptionError, match="the name of an adapter must be 1 to 64 letters"):
            shelf.add(make("LoRA").path, name=name)
    with pytest.raises(OptionError, match="there is no adapter 'b'; there are: a"):
        shelf.remove("b")
    with pytest.raises(OptionError, match="the engine scripted takes none for scripted"):
        AdapterShelf(ScriptedEngine("")).add(make("LoRA").path)
    for scale in (2.1, -3, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=r"the scale of the adapter a must be -2\.\.2, got"):
            AdapterUse(name="a", scale=scale)
    with pytest.raises(OptionError, match="the scale of the adapter a must be a number, got True"):
        AdapterUse(name="a", scale=True)
    with pytest.raises(OptionError, match="the adapter a is named twice"):
        greedy(adapters=(AdapterUse(name="a"), AdapterUse(name="a", scale=0.5)))
    with pytest.raises(OptionError, match="adapters must be 4 at most, got 5"):
        greedy(adapters=tuple(AdapterUse(name=name) for name in "abcde"))
    with pytest.raises(OptionError, match="adapters must be AdapterUse"):
        greedy(adapters=("a",))


def test_a_use_is_written_name_at_scale() -> None:
    assert parsed_use("photo") == ("photo", 1.0)
    assert parsed_use("my@home/photo@-0.5") == ("my@home/photo", -0.5)
    with pytest.raises(OptionError, match="NAME or NAME@SCALE, as photo@0.7; got 'photo@strong'"):
        parsed_use("photo@strong")


CYCLES = """
import ctypes, gc, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = sys.argv[2:4]
from scripted import asked, written
from tiny_engines import greedy
from skipstep.promptllm import AdapterShelf, AdapterUse, GgufEngine, HfEngine
def now():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what glibc keeps for later is no leak
    time.sleep(0.1)  # nor is what a thread that ends has
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
def resident():
    return min(now() for _ in range(5))
engine = HfEngine(Path(sys.argv[1]), device="cpu") if Path(sys.argv[1]).is_dir() else GgufEngine(Path(sys.argv[1]))
shelf = AdapterShelf(engine)
plain = written(engine, asked(greedy(max_tokens=2), engine))
for cycle in range(1, 241):
    for name, folder in zip("abc", sys.argv[4:]):
        shelf.add(folder, name=name)
        written(engine, asked(greedy(max_tokens=2), engine, stack=shelf.stack((AdapterUse(name=name),))))
    for name, _ in zip("abc", sys.argv[4:]):
        shelf.remove(name)
    if cycle == 40:
        first = resident()
assert written(engine, asked(greedy(max_tokens=2), engine)) == plain
print(resident() - first)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["hf", pytest.param("gguf", marks=needs_gguf)])
def test_200_cycles_of_adding_and_removing_leave_nothing(
    name: str, tiny_model: Path, tiny_file: Path, make: Make
) -> None:
    kinds = ["LoRA", "rsLoRA", "IA3"] if name == "hf" else ["LoRA"]
    model = tiny_model if name == "hf" else tiny_file
    tests = Path(__file__).parents[1]
    folders = [str(make(kind).path) for kind in kinds]
    run = subprocess.run(
        [sys.executable, "-c", CYCLES, str(model), str(tests / "prompt"), str(tests), *folders],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) <= 5 * 2**20
    gc.collect()


@pytest.mark.parametrize(("quantize", "kind"), [("nf4", "LoHa"), ("int8", "DoRA")])
def test_families_that_do_not_work_over_fewer_bits_are_refused(
    quantize: str, kind: str, tiny_model: Path, make: Make
) -> None:
    pytest.importorskip("bitsandbytes")
    engine = HfEngine(tiny_model, device="cpu", quantize=quantize)
    with pytest.raises(AdapterError, match=f"family: {kind} does not work over Linear.*; load the base otherwise"):
        written(engine, asked(greedy(), engine, stack=[Stacked(info=make(kind), scale=1.0)]))
    stack = [Stacked(info=make("LoRA"), scale=1.0)]
    assert written(engine, asked(greedy(), engine, stack=stack)) != written(engine, asked(greedy(), engine))
    engine.close()
