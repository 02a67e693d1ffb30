"""Passes of an ldm UNet through graphs: exact, with nothing of one call frozen, and eager where they must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fakes import Fake, Frozen, Refreshable
from ldm_toys import CONTEXT, SKIPS, TOKENS, LdmUNet, ldm_call, ldm_unet, residuals, sampling_options
from torch import Tensor, nn

from skipstep.compile import CompiledSplit, CompileOptions, Compiler, TorchCompileBackend
from skipstep.compile.identity import unet_identity
from skipstep.compile.watch import ModelWatch
from skipstep.deepcache import LdmMixedSplit, LdmUNetSplit
from skipstep.errors import BackendError, BranchError, CompileFallbackWarning, OptionError, UnsupportedModelError

pytestmark = pytest.mark.usefixtures("no_grad")
ODD = (9, 7)


@pytest.fixture(scope="module")
def shared() -> Any:
    """A UNet that no test may change."""
    return ldm_unet()


def compiled(unet: Any, *branches: int, backend: Any = None, **options: Any) -> CompiledSplit:
    return Compiler(backend or Fake(Frozen), CompileOptions(**options))(unet, branches)


def run_both(split: Any, seed: int = 0, **more: Any) -> list[Tensor]:
    """A full and a reuse pass on one input, which the plain UNet answers alike."""
    output, features = split.full(**ldm_call(seed, **more))
    return [output, split.reuse(features, **ldm_call(seed, **more))]


def plain(unet: Any, seed: int = 0, **more: Any) -> Tensor:
    made: Tensor = unet(**ldm_call(seed, **more))
    return made


@pytest.mark.parametrize("branch", range(SKIPS))
def test_both_passes_are_those_of_the_split_that_compiles_nothing(shared: Any, branch: int) -> None:
    split, eager = compiled(shared, branch), LdmUNetSplit(shared, branch)
    split.full(**ldm_call(2, ODD))  # what was traced is frozen
    for seed in (0, 1):
        output, features = split.full(**ldm_call(seed, ODD))
        expected, expected_features = eager.full(**ldm_call(seed, ODD))
        assert torch.equal(output, expected)
        assert torch.equal(features, expected_features)
        kept = features.clone()
        reused = split.reuse(features, **ldm_call(seed + 1, ODD))
        assert torch.equal(reused, eager.reuse(expected_features, **ldm_call(seed + 1, ODD)))
        assert not torch.equal(reused, plain(shared, seed + 1, size=ODD))  # features are used
        assert torch.equal(features, kept)
    assert plain(shared, size=ODD).std() > 1e-2
    counters = split.counters
    assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (2, 5, 0, [])


def test_several_branches_are_those_of_the_mixed_split(shared: Any) -> None:
    split: Any = compiled(shared, 3, 0, 2)
    eager = LdmMixedSplit(shared, (0, 2, 3))
    output, features = split.full(**ldm_call(0))
    expected, expected_features = eager.full(**ldm_call(0))
    assert torch.equal(output, expected)
    assert list(features) == [0, 2, 3]
    for branch in features:
        assert torch.equal(features[branch], expected_features[branch])
        reused = split.at(branch).reuse(features[branch], **ldm_call(1))
        assert torch.equal(reused, eager.at(branch).reuse(features[branch], **ldm_call(1)))
        assert torch.equal(split.at(branch).full(**ldm_call(0))[1], expected_features[branch])
    assert split.counters.compiles == 4


def test_by_position_or_by_name_is_one_graph(shared: Any) -> None:
    split, call = compiled(shared, 1), ldm_call(0)
    expected = plain(shared)
    assert torch.equal(split.full(**call)[0], expected)
    assert torch.equal(split.full(*call.values())[0], expected)
    del call["control"], call["transformer_options"]
    assert torch.equal(split.full(**call)[0], expected)
    assert split.counters.compiles == 1


def test_what_samplers_note_of_a_run_makes_no_other_graph_and_is_not_written_to(shared: Any) -> None:
    split = compiled(shared, 1)
    for seed in range(3):
        options = sampling_options(seed)
        before = dict(options)
        assert torch.equal(run_both(split, seed, transformer_options=options)[0], plain(shared, seed))
        assert options == before
    assert (split.counters.compiles, split.counters.hits, split.counters.eager) == (2, 6, 0)


def test_residuals_of_a_controlnet_are_inputs_and_stay_in_their_lists(shared: Any) -> None:
    split, eager = compiled(shared, 1), LdmUNetSplit(shared, 1)
    run_both(split, 0)
    seen = []
    for seed in (0, 1):
        control = residuals(seed)
        kept = {name: list(given) for name, given in control.items()}
        seen.append(plain(shared, 0, control=residuals(seed)))
        assert all(torch.equal(made, seen[-1]) for made in run_both(split, 0, control=control))
        assert {name: list(map(id, given)) for name, given in control.items()} == {
            name: list(map(id, given)) for name, given in kept.items()
        }
        _, features = split.full(**ldm_call(0, control=control))
        reused = split.reuse(features, **ldm_call(1, control=residuals(seed + 1)))
        assert torch.equal(reused, eager.reuse(features, **ldm_call(1, control=residuals(seed + 1))))
        assert not torch.equal(reused, eager.reuse(features, **ldm_call(1, control=control)))
    assert not torch.equal(*seen)
    assert not torch.equal(seen[0], plain(shared))
    assert split.counters.compiles == 4  # with and without


def test_frames_are_counted_in_the_graph_and_the_rest_of_a_video_call_is_inputs(shared: Any) -> None:
    split = compiled(shared, 2)
    for frames, compiles in ((2, 2), (1, 4), (2, 4)):
        more = {"num_video_frames": frames, "image_only_indicator": torch.zeros(2 // frames, frames)}
        assert all(torch.equal(made, plain(shared, 0, **more)) for made in run_both(split, 0, **more))
        assert split.counters.compiles == compiles
    more = {"num_video_frames": 2, "time_context": torch.randn(1, TOKENS, CONTEXT)}
    assert all(torch.equal(made, plain(shared, 0, **more)) for made in run_both(split, 0, **more))
    assert not torch.equal(plain(shared, 0, num_video_frames=2), plain(shared, 0))


def louder(factor: float) -> Callable[..., Any]:
    return lambda h, *rest: (h * factor, *rest[:-1])


def added(factor: float) -> Callable[..., Any]:
    return lambda h, *_: h + factor


def attended(factor: float) -> Callable[..., Tensor]:
    return lambda q, _, v: q * factor + v.mean(1, keepdim=True)


FOREIGN: dict[str, Callable[[float], dict[str, Any]]] = {
    "patches.output_block_patch": lambda factor: {"patches": {"output_block_patch": [louder(factor)]}},
    "patches.input_block_patch": lambda factor: {"patches": {"input_block_patch": [added(factor)]}},
    "patches.emb_patch": lambda factor: {"patches": {"attn2_patch": [], "emb_patch": [added(factor)]}},
    "patches.attn2_patch": lambda factor: {"patches": {"attn2_patch": [louder(factor)]}},
    "patches_replace.attn2": lambda factor: {"patches_replace": {"attn2": {("output", 2, 0): attended(factor)}}},
}


@pytest.mark.parametrize("entry", FOREIGN)
def test_patches_of_others_run_eagerly_and_are_never_frozen(shared: Any, entry: str) -> None:
    split = compiled(shared, 2)
    assert all(torch.equal(made, plain(shared)) for made in run_both(split))

    def given(factor: float) -> dict[str, Any]:
        return {"transformer_options": {**sampling_options(), **FOREIGN[entry](factor)}}

    seen = [plain(shared), *(plain(shared, 0, **given(factor)) for factor in (1.5, 2.0))]
    assert not any(torch.equal(one, seen[index]) for index, one in enumerate(seen[1:]))
    told = f"calls with {entry} in transformer_options, which run eagerly: a graph would keep what other code put there"
    with pytest.warns(CompileFallbackWarning, match=told) as record:
        made = [run_both(split, 0, **given(factor)) for factor in (1.5, 2.0)]
    assert all(torch.equal(one, expected) for pair, expected in zip(made, seen[1:], strict=True) for one in pair)
    assert len(record) == 1
    assert all(torch.equal(made, seen[0]) for made in run_both(split))
    counters = split.counters
    assert (counters.compiles, counters.hits, counters.eager, len(counters.failures)) == (2, 4, 4, 1)


@pytest.mark.parametrize("entry", ["optimized_attention_override", "of_some_pack"])
def test_entries_that_may_be_read_by_other_code_run_eagerly(shared: Any, entry: str) -> None:
    split = compiled(shared, 1)
    with pytest.warns(CompileFallbackWarning, match=f"calls with {entry} in transformer_options") as record:
        made = run_both(split, 0, transformer_options={entry: print})
    assert len(record) == 1
    assert all(torch.equal(one, plain(shared)) for one in made)
    assert (split.counters.compiles, split.counters.eager) == (0, 2)


def test_several_branches_with_patches_of_others_are_those_of_the_mixed_split(shared: Any) -> None:
    split: Any = compiled(shared, 0, 3)
    options = FOREIGN["patches.output_block_patch"](1.5)
    eager = LdmMixedSplit(shared, (0, 3))
    with pytest.warns(CompileFallbackWarning):
        output, features = split.full(**ldm_call(0, transformer_options=options))
    expected, expected_features = eager.full(**ldm_call(0, transformer_options=options))
    assert torch.equal(output, expected)
    assert all(torch.equal(features[branch], expected_features[branch]) for branch in (0, 3))


def test_an_argument_that_no_graph_can_be_named_after_runs_eagerly(shared: Any) -> None:
    split = compiled(shared, 1)
    with pytest.warns(CompileFallbackWarning, match="calls with object, which run eagerly"):
        made = run_both(split, 0, of_some_pack=object())
    assert all(torch.equal(one, plain(shared)) for one in made)
    assert split.counters.compiles == 0


def replace_weights(unet: Any) -> None:
    """As ComfyUI loads a LoRA: new parameters in place of the old ones."""
    for module in unet.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight * 1.2, requires_grad=False)


def write_weights(unet: Any) -> None:
    for parameter in unet.parameters():
        parameter.mul_(1.1)


@pytest.mark.parametrize("change", [replace_weights, write_weights])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_of_a_lora_that_is_loaded_later_are_handed_to_graphs_that_hold_them(
    change: Callable[[Any], None], mode: Any
) -> None:
    if (change, mode) == (write_weights, torch.inference_mode):
        pytest.skip("of a write to an inference tensor there is no trace")
    with mode():
        unet = ldm_unet()
        before, own = plain(unet), {name: value.clone() for name, value in unet.state_dict().items()}
        split = compiled(unet, 1, backend=Fake(Refreshable))
        assert all(torch.equal(made, before) for made in run_both(split))
        change(unet)
        after = plain(unet)
        assert not torch.equal(after, before)
        for _ in range(2):
            assert all(torch.equal(made, after) for made in run_both(split))
        assert (split.counters.compiles, split.counters.refreshes) == (2, 2)
        for name, value in own.items():  # as it is unloaded again
            *path, last = name.split(".")
            setattr(unet.get_submodule(".".join(path)), last, nn.Parameter(value, requires_grad=False))
        assert all(torch.equal(made, before) for made in run_both(split))
        assert split.counters.compiles == 2


def test_a_new_tensor_where_a_deleted_one_lay_is_another_tensor() -> None:
    """An allocator hands out the memory of the last LoRA for the next one, and inference tensors count no writes."""
    with torch.inference_mode():
        layer = nn.Linear(4, 4)
        watch = ModelWatch(layer)
        assert not watch.are_weights_changed()
        memory = layer.weight.data
        layer.weight = nn.Parameter(memory, requires_grad=False)
        memory.mul_(2)
        assert watch.are_weights_changed()
        assert not watch.are_weights_changed()


def test_weights_that_are_made_anew_for_each_call_run_eagerly_until_they_are_not() -> None:
    unet = ldm_unet()
    split, before = compiled(unet, 1), plain(unet)
    assert all(torch.equal(made, before) for made in run_both(split))
    layer: Any = unet.middle_block[0].emb

    def follows(factor: float) -> bool:
        layer.weight_function = [lambda weight: weight * factor]
        after = plain(unet)
        return not torch.equal(after, before) and all(torch.equal(made, after) for made in run_both(split))

    told = "calls of a model whose weights are made anew for each, which run eagerly"
    with pytest.warns(CompileFallbackWarning, match=told) as record:
        followed = [follows(factor) for factor in (1.5, 3.0)]
    assert followed == [True, True]
    assert len(record) == 1
    assert (split.counters.compiles, split.counters.eager) == (2, 4)
    layer.weight_function = []
    assert all(torch.equal(made, before) for made in run_both(split))
    assert split.counters.compiles == 4


def test_a_model_that_is_partly_elsewhere_runs_eagerly() -> None:
    unet = ldm_unet()
    split = compiled(unet, 1)
    run_both(split)
    unet.register_buffer("spare", torch.zeros(1, device="meta"))
    with pytest.warns(CompileFallbackWarning, match="calls of a model that is not all on one device"):
        assert all(torch.equal(made, plain(unet)) for made in run_both(split))
    assert split.counters.eager == 2


class Resting(Refreshable):
    """A graph that holds the model's own tensors, and fails without them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.holds = True

    def rest(self) -> None:
        self.holds = False

    def refresh(self, module: nn.Module) -> None:
        super().refresh(module)
        self.holds = True

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        assert self.holds
        return super().__call__(*tensors)


def test_graphs_let_go_of_weights_between_runs_and_take_those_that_are_there_then() -> None:
    unet, graphs = ldm_unet(), list[Resting]()

    def make(module: nn.Module) -> Resting:
        graphs.append(Resting(module))
        return graphs[-1]

    compiler = Compiler(Fake(make))
    split = compiler(unet, (1,))
    run_both(split)
    for change in (lambda _: None, replace_weights):
        compiler.rest()
        assert not any(graph.holds for graph in graphs)
        change(unet)
        assert all(torch.equal(made, plain(unet)) for made in run_both(split))
        assert all(graph.holds for graph in graphs)
    assert (split.counters.compiles, split.counters.refreshes, split.counters.failures) == (2, 4, [])


@pytest.mark.parametrize("option", [{"channels_last": True}, {"fused_qkv": True}, {"attention": "sdpa"}])
def test_what_the_host_chooses_is_refused(shared: Any, option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(OptionError, match=f"{name} is not for LdmUNet, whose host chooses it; leave it out"):
        compiled(shared, 0, **option)


def test_what_cannot_be_cut_is_refused(shared: Any) -> None:
    with pytest.raises(BranchError, match=r"branch must be 0\.\.3 for this UNet"):
        compiled(shared, 4)
    broken = ldm_unet()
    broken.output_blocks = broken.output_blocks[:3]
    with pytest.raises(UnsupportedModelError, match="makes 4 skips on the way down and uses 3"):
        compiled(broken, 0)


def test_gradients_are_asked_for_again_when_the_compiler_lets_go() -> None:
    unet = ldm_unet()
    unet.out.requires_grad_(True)
    asked = {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    compiler = Compiler(Fake())
    compiler(unet, (0,))
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    compiler.clear()
    assert {name for name, parameter in unet.named_parameters() if parameter.requires_grad} == asked
    assert asked


class Descendant(LdmUNet):
    """Another class with the same blocks."""


def test_a_file_name_is_for_one_code_host_pass_and_shape() -> None:
    def names(unet: Any, seed: int = 0, host: str = "", **more: Any) -> list[str]:
        backend = Fake()
        run_both(Compiler(backend, host=host)(unet, (1,)), seed, **more)
        return [spec.fingerprint for spec in backend.specs]

    own = names(ldm_unet())
    assert names(ldm_unet(3), 1) == own  # weights and inputs are not in it
    descendant = Descendant()
    descendant.load_state_dict(ldm_unet().state_dict())
    others = [
        names(ldm_unet(), host="other switches"),
        names(ldm_unet(), size=ODD),
        names(ldm_unet(), num_video_frames=2),
        names(descendant.eval()),
    ]
    every = [name for made in (own, *others) for name in made]
    assert len(set(every)) == len(every) == 10
    assert unet_identity(ldm_unet(), "") != unet_identity(descendant, "")


@pytest.fixture
def _forgetting() -> Any:
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_forgetting")
def test_torch_compiles_two_graphs_without_a_break_whatever_belongs_to_one_call() -> None:
    with torch.inference_mode():  # ComfyUI's
        unet = ldm_unet()
        split = compiled(unet, 1, backend=TorchCompileBackend("aot_eager"))
        for seed in (0, 1):
            made = run_both(split, seed, control=residuals(seed), transformer_options=sampling_options(seed))
            expected = plain(unet, seed, control=residuals(seed))
            assert all(torch.equal(one, expected) for one in made)
        replace_weights(unet)
        assert all(torch.equal(one, plain(unet, control=residuals())) for one in run_both(split, control=residuals()))
    found = torch._dynamo.utils.counters
    assert found["stats"]["unique_graphs"] == 2
    assert not found["graph_break"]
    assert (split.counters.compiles, split.counters.hits, split.counters.failures) == (2, 6, [])


@pytest.mark.usefixtures("_forgetting")
def test_a_dynamic_graph_takes_every_size_and_torch_any_backend(shared: Any) -> None:
    graphs: list[Any] = []

    def keep(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    split, eager = compiled(shared, 0, backend=TorchCompileBackend(keep), dynamic=True), LdmUNetSplit(shared, 0)
    for size in ((8, 8), (8, 12), (10, 6)):
        _, features = eager.full(**ldm_call(1, size))
        assert torch.equal(split.reuse(features, **ldm_call(0, size)), eager.reuse(features, **ldm_call(0, size)))
    assert len(graphs) == 1
    assert (split.counters.hits, split.counters.failures) == (3, [])


def test_a_backend_that_torch_does_not_know_is_refused() -> None:
    with pytest.raises(BackendError, match=r"torch\.compile has no backend 'quick', but .*inductor"):
        Compiler(TorchCompileBackend("quick"))


@pytest.mark.usefixtures("_forgetting")
def test_regional_compilation_makes_one_graph_of_all_alike_blocks(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(counters: Any, _: Any) -> Any:
        def keep(graph: Any, _: Any) -> Any:
            counters.compiles += 1
            return graph.forward

        return keep

    monkeypatch.setattr("skipstep.compile.inductor._counting", counting)
    split = compiled(shared, 1, backend="inductor", regional=True)
    made = [*run_both(split, 0), *run_both(split, 1)]
    for one, seed in zip(made, (0, 0, 1, 1), strict=True):
        assert torch.equal(one, plain(shared, seed))
    blocks = [block for block in shared.modules() if type(block).__name__ == "BasicTransformerBlock"]
    assert len(blocks) == 5
    assert split.counters.compiles == 2 + 1  # of the full pass two widths, of the reuse pass its one block
    assert split.counters.failures == []
