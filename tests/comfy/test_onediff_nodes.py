"""The nodes under OneDiff's names: what they take, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.models import TinySDXL, TinySVD, draw, picture

if TYPE_CHECKING:
    from host.process import Core, Pack

NUMBERS = ("cache_interval", "cache_layer_id", "cache_block_id", "start_step", "end_step")
LOADED = ("MODEL", "CLIP", "VAE")
# of each node, in every version that OneDiff published: its links, its widgets in their order on the canvas, and what
# it gives
Published = tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]
MODEL = {"model": "MODEL"}
BOOSTER = {"custom_booster": "CUSTOM_BOOSTER"}
ONEDIFF: dict[str, tuple[Published, ...]] = {
    "ModelSpeedup": (({**MODEL, **BOOSTER}, ("inplace",), ("MODEL",)),),
    "VaeSpeedup": (({"vae": "VAE", **BOOSTER}, ("inplace",), ("VAE",)),),
    "ControlnetSpeedup": (
        ({"control_net": "CONTROL_NET", **BOOSTER}, ("inplace",), ("CONTROL_NET",)),
        (
            {"control_net": "CONTROL_NET", "cnet_stack": "CONTROL_NET_STACK", **BOOSTER},
            (),
            ("CONTROL_NET", "CONTROL_NET_STACK"),
        ),
    ),
    "ControlNetSpeedup": (({"control_net": "CONTROL_NET"}, ("static_mode",), ("CONTROL_NET",)),),
    "SVDSpeedup": (({**MODEL, **BOOSTER}, ("inplace", "cache_name"), ("MODEL",)),),
    "ModuleDeepCacheSpeedup": ((MODEL, ("static_mode", *NUMBERS), ("MODEL",)),),
    "OneDiffCheckpointLoaderSimple": ((BOOSTER, ("ckpt_name", "vae_speedup"), LOADED),),
    "OneDiffDeepCacheCheckpointLoaderSimple": (({}, ("ckpt_name", "vae_speedup", "static_mode", *NUMBERS), LOADED),),
    "OneDiffQuantCheckpointLoaderSimple": (({}, ("ckpt_name", "vae_speedup"), LOADED),),
    "OneDiffQuantCheckpointLoaderSimpleAdvanced": (
        ({}, ("ckpt_name", "model_path", "compile", "vae_speedup"), LOADED),
    ),
    "ImageOnlyOneDiffQuantCheckpointLoaderAdvanced": (
        ({}, ("ckpt_name", "model_path", "compile", "vae_speedup"), ("MODEL", "CLIP_VISION", "VAE")),
    ),
    "UNETLoaderInt8": (({}, ("model_path",), ("MODEL",)),),
    "Quant8Model": ((MODEL, ("output_dir", "conv", "linear"), ()),),
    "OneDiffControlNetLoader": ((BOOSTER, ("control_net_name",), ("CONTROL_NET",)),),
    "OneDiffModelBooster": (
        (
            {
                "quantization_booster": "QuantizationBooster",
                "deepcache_booster": "DeepCacheBooster",
                "torchcompile_booster": "TorchCompileBooster",
            },
            (),
            ("CUSTOM_BOOSTER",),
        ),
    ),
    "OneFlowDeepcacheBooster": (({}, NUMBERS, ("DeepCacheBooster",)),),
    "OneDiffTorchCompileBooster": (
        ({}, ("fullgraph", "dynamic", "backend", "mode", "disable", "docs_link"), ("TorchCompileBooster",)),
    ),
    "OneDiffNexfortBooster": (({}, ("fullgraph", "dynamic", "mode", "docs_link"), ("TorchCompileBooster",)),),
    "OneDiffOnlineQuantizationBooster": (
        (
            {},
            (
                "quantized_conv_percentage",
                "quantized_linear_percentage",
                "conv_compute_density_threshold",
                "linear_compute_density_threshold",
            ),
            ("QuantizationBooster",),
        ),
    ),
    "ModelGraphLoader": ((MODEL, ("graph",), ("MODEL",)),),
    "ModelGraphSaver": (({"samples": "LATENT", **MODEL}, ("filename_prefix",), ()),),
    "VaeGraphLoader": (({"vae": "VAE"}, ("graph",), ("VAE",)),),
    "VaeGraphSaver": (({"images": "IMAGE", "vae": "VAE"}, ("filename_prefix",), ()),),
    "ControlNetGraphLoader": (({"control_net": "CONTROL_NET"}, ("graph",), ("CONTROL_NET",)),),
    "ControlNetGraphSaver": (({"samples": "LATENT", "control_net": "CONTROL_NET"}, ("filename_prefix",), ()),),
    "BatchSizePatcher": (({**MODEL, "latent_image": "LATENT"}, (), ("MODEL",)),),
    "ResolutionSpeedupChecker": (({"samples": "LATENT"}, (), ("LATENT",)),),
    "CompareModel": (({"torch_model": "MODEL", "oneflow_model": "MODEL"}, ("check",), ()),),
    "ShowImageDiff": (({"images1": "IMAGE", "images2": "IMAGE"}, ("ssim_threshold", "raise_if_diff", "image_id"), ()),),
    "CLIPTextEncodePromptStyle": (
        (
            {"clip": "CLIP"},
            ("text_positive", "text_negative", "style", "log_prompt", "style_positive", "style_negative"),
            ("CONDITIONING", "CONDITIONING"),
        ),
    ),
}
WIDGETS = {"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO"}


@pytest.fixture
def onediff(pack: Pack) -> Any:
    """The pack's nodes of OneDiff's names."""
    return pack.module("comfy_nodes.onediff")


@pytest.fixture
def old(core: Core, pack: Pack) -> Any:
    """Calls a node of OneDiff's name."""
    assert set(ONEDIFF) <= pack.node_ids
    return core.call


def test_all_of_them_are_there_and_no_others(pack: Pack) -> None:
    assert {name for name in pack.node_ids if not name.startswith("Skipstep")} == set(ONEDIFF)


@pytest.mark.parametrize("node_id", ONEDIFF)
@pytest.mark.usefixtures("pack")
def test_a_node_takes_what_onediffs_took_in_the_same_order(core: Core, node_id: str) -> None:
    kind = core.node(node_id)
    inputs = kind.INPUT_TYPES()
    types = {
        name: "COMBO" if isinstance(it[0], list) else it[0] for part in inputs.values() for name, it in part.items()
    }
    order = [name for name, type_name in types.items() if type_name in WIDGETS]
    assert kind.DEPRECATED
    assert kind.CATEGORY == "skipstep/OneDiff"
    for links, widgets, gives in ONEDIFF[node_id]:
        assert {name: types[name] for name in links} == links
        assert tuple(order[: len(widgets)]) == widgets
        assert tuple(kind.RETURN_TYPES[: len(gives)]) == gives
        assert kind.OUTPUT_NODE or gives
    needed = set(inputs["required"])
    for links, widgets, _ in ONEDIFF[node_id]:
        assert needed <= set(links) | set(widgets)  # whatever else there is, no version of the workflow has


def test_onediffs_own_nodes_keep_their_names(onediff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import nodes

    assert onediff.onediff_nodes() == []  # ours were registered, by now
    monkeypatch.delitem(nodes.NODE_CLASS_MAPPINGS, "ModelSpeedup")
    monkeypatch.delitem(nodes.NODE_CLASS_MAPPINGS, "ModelGraphLoader")
    assert [node.GET_SCHEMA().node_id for node in onediff.onediff_nodes()] == ["ModelSpeedup", "ModelGraphLoader"]


def test_a_booster_reuses_as_the_node_does(core: Core, old: Any, comfy_sdxl: TinySDXL) -> None:
    numbers = {"cache_interval": 2, "cache_layer_id": 1, "cache_block_id": 1}
    (deepcache,) = old("OneFlowDeepcacheBooster", **numbers)
    (eager,) = old("OneDiffTorchCompileBooster", disable=True)
    (booster,) = old("OneDiffModelBooster", deepcache_booster=deepcache, torchcompile_booster=eager)
    (boosted,) = old("ModelSpeedup", model=comfy_sdxl.model, custom_booster=booster, inplace=True)
    (direct,) = old("ModuleDeepCacheSpeedup", model=comfy_sdxl.model, static_mode="disable", **numbers)
    pictures = [draw(core, replace(comfy_sdxl, model=model)) for model in (comfy_sdxl.model, boosted, direct)]
    assert torch.equal(pictures[1], pictures[2])
    assert not torch.equal(pictures[0], pictures[1])


@pytest.mark.parametrize("node_id", ["ModelSpeedup", "SVDSpeedup"])
def test_a_speedup_without_a_compiler_changes_nothing(core: Core, old: Any, comfy_svd: TinySVD, node_id: str) -> None:
    (model,) = old(node_id, model=comfy_svd.model, static_mode="disable")
    assert torch.equal(draw(core, replace(comfy_svd, model=model)), draw(core, comfy_svd))


@pytest.mark.usefixtures("pack")
def test_what_a_node_became_is_shown(core: Core, comfy_sdxl: TinySDXL) -> None:
    node = core.node("ModuleDeepCacheSpeedup").PREPARE_CLASS_CLONE(None)
    shown = node.execute(comfy_sdxl.model, static_mode="disable", cache_layer_id=1, start_step=200, end_step=800)
    (text,) = shown.ui["text"]
    assert "preset custom, interval 3, branch 4, forecast verbatim, spacing uniform" in text
    assert "start_percent 0.199, end_percent 0.8" in text
    assert "After end_step every pass is full" in text
    (whole,) = node.execute(comfy_sdxl.model, static_mode="disable").ui["text"]
    assert "start_percent 0, end_percent 1" in whole
    assert "After end_step" not in whole


def test_numbers_that_no_unet_has_are_refused(old: Any, comfy_sdxl: TinySDXL) -> None:
    from skipstep.errors import BranchError, OptionError

    with pytest.raises(BranchError, match="cache_block_id must be 0..7 with cache_layer_id 0 for this UNet"):
        old("ModuleDeepCacheSpeedup", model=comfy_sdxl.model, cache_block_id=8)
    with pytest.raises(OptionError, match="start_step must be below end_step"):
        old("ModuleDeepCacheSpeedup", model=comfy_sdxl.model, start_step=600, end_step=500)


@pytest.mark.parametrize(
    ("node_id", "inputs", "words"),
    [
        ("OneDiffOnlineQuantizationBooster", {}, "delete it, or set both percentages to 0"),
        ("OneDiffQuantCheckpointLoaderSimple", {"ckpt_name": "x"}, "use Load Checkpoint"),
        ("OneDiffQuantCheckpointLoaderSimpleAdvanced", {"ckpt_name": "x"}, "use Load Checkpoint"),
        ("ImageOnlyOneDiffQuantCheckpointLoaderAdvanced", {"ckpt_name": "x"}, "use Image Only Checkpoint Loader"),
        ("UNETLoaderInt8", {"model_path": "x"}, "use Load Diffusion Model"),
        ("Quant8Model", {"model": None}, "take it out"),
    ],
)
def test_a_node_with_no_counterpart_says_what_to_change(old: Any, node_id: str, inputs: Any, words: str) -> None:
    from skipstep.errors import UnsupportedFeatureError

    with pytest.raises(UnsupportedFeatureError, match=words):
        old(node_id, **inputs)


def test_a_booster_that_quantizes_nothing_passes(old: Any) -> None:
    none = {"quantized_conv_percentage": 0, "quantized_linear_percentage": 0}
    (booster,) = old("OneDiffOnlineQuantizationBooster", **none)
    (joined,) = old("OneDiffModelBooster", quantization_booster=booster)
    assert joined.deepcache is None
    assert joined.compiling is None


def test_prompts_without_a_style_are_encoded_as_usual(old: Any, comfy_sdxl: TinySDXL) -> None:
    from skipstep.errors import UnsupportedFeatureError

    prompts = {"clip": comfy_sdxl.clip, "text_positive": "a red apple on a table", "text_negative": "blurry"}
    for options in ({"style": "(No style)"}, {"style": "Watercolor", "style_positive": False, "style_negative": False}):
        encoded = old("CLIPTextEncodePromptStyle", **prompts, **options)
        for made, usual in zip(encoded, (comfy_sdxl.positive, comfy_sdxl.negative), strict=True):
            assert torch.equal(made[0][0], usual[0][0])
            assert torch.equal(made[0][1]["pooled_output"], usual[0][1]["pooled_output"])
    with pytest.raises(UnsupportedFeatureError, match="the words of the style 'Watercolor' came with OneDiff"):
        old("CLIPTextEncodePromptStyle", **prompts, style="Watercolor")


def test_pictures_are_compared(core: Core, old: Any) -> None:
    from skipstep.errors import MissingExtraError, OptionError

    one = picture(side=32)
    node = core.node("ShowImageDiff").PREPARE_CLASS_CLONE(None)
    shown = node.execute(one, one * 0.5, raise_if_diff="disable", image_id="apples")
    assert shown.ui["text"][0].startswith("apples: largest difference 0.")
    assert len(shown.ui["images"]) == 1
    with pytest.raises((MissingExtraError, OptionError), match="scikit-image|not above the ssim_threshold of 0.99"):
        old("ShowImageDiff", images1=one, images2=one * 0.5, ssim_threshold="0.99", raise_if_diff="enable")
    old("ShowImageDiff", images1=one, images2=one * 0.5, ssim_threshold="1e-4", raise_if_diff="1e-4")  # as of 2023


@pytest.mark.parametrize(
    ("node_id", "passes"),
    [
        ("ModelGraphLoader", "model"),
        ("VaeGraphLoader", "vae"),
        ("ControlNetGraphLoader", "control_net"),
        ("BatchSizePatcher", "model"),
        ("ResolutionSpeedupChecker", "samples"),
    ],
)
def test_what_needs_nothing_done_goes_through(old: Any, node_id: str, passes: str) -> None:
    given = object()
    assert old(node_id, **{passes: given}) == (given,)
