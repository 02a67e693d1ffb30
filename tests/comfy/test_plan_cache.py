"""Plan Cache: a plan made by ComfyUI's own sampling is what it says, and is used here and in diffusers."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.client import ComfyClient
from host.models import TinySDXL, TinySVD
from PIL import Image

from skipstep.errors import OptionError, PlanError, UnsupportedModelError

if TYPE_CHECKING:
    from host.process import Core, Pack

PROMPTS = ("a fox on a blue background", "a cat on a red background")  # to search on, and held out
HELD_OUT = 1
SEED, STEPS, SIDE, CFG = 5, 5, 64, 3.0
WIDGETS: dict[str, Any] = {
    "target": "speed",
    "speed": 1.5,
    "psnr": 40.0,
    "width": SIDE,
    "height": SIDE,
    "steps": STEPS,
    "cfg": CFG,
    "sampler_name": "euler",
    "scheduler": "simple",
    "seed": SEED,
    "overwrite": False,
}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the node gave."""

    model: Any  # that it was given
    clip: Any
    planned: Any
    report: str
    file: Path

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))


@pytest.fixture(scope="module")
def plans(core: Core, pack: Pack) -> Iterator[Path]:
    """The folder that ComfyUI keeps plans in, which is one of this process and not of the shared models."""
    import folder_paths

    before = folder_paths.models_dir
    folder_paths.models_dir = str(core.base / "own models")
    pack.module("comfy_nodes.folders").register_folder()
    yield Path(folder_paths.models_dir) / "skipstep"
    folder_paths.models_dir = before
    folder_paths.folder_names_and_paths.pop("skipstep", None)
    pack.module("comfy_nodes.folders").register_folder()


@pytest.fixture(scope="module")
def made(core: Core, plans: Path) -> Planned:
    """A plan of the demo SDXL, made where there is no matplotlib."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        model, clip, _ = core.call("SkipstepDemoCheckpoint", model="SDXL")
        planned, report = core.call(
            "SkipstepPlanCache", model=model, clip=clip, name="made", prompts="\n".join(PROMPTS), **WIDGETS
        )
    return Planned(model=model, clip=clip, planned=planned, report=report, file=plans / "made.json")


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is a failure."""
    import comfy.sample

    def sampled(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was sampled")

    monkeypatch.setattr(comfy.sample, "sample", sampled)


def drawn(core: Core, made: Planned, model: Any, index: int, *, steps: int = STEPS) -> torch.Tensor:
    """The latents of a prompt by ComfyUI's own nodes."""
    (positive,) = core.call("CLIPTextEncode", clip=made.clip, text=PROMPTS[index])
    (negative,) = core.call("CLIPTextEncode", clip=made.clip, text="")
    (latent,) = core.call("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    (sampled,) = core.call(
        "KSampler",
        model=model,
        seed=SEED + index,
        steps=steps,
        cfg=CFG,
        sampler_name="euler",
        scheduler="simple",
        positive=positive,
        negative=negative,
        latent_image=latent,
        denoise=1.0,
    )
    latents: torch.Tensor = sampled["samples"]
    return latents


def decibels(reference: torch.Tensor, other: torch.Tensor) -> float:
    error = float((reference - other).double().square().mean())
    return 10 * math.log10(float(reference.max() - reference.min()) ** 2 / error)


def test_the_plan_is_followed_and_says_what_it_gives(core: Core, made: Planned, pack: Pack) -> None:
    passes = made.data["passes"].replace(" ", "").replace("0", "r")
    assert len(passes) == STEPS
    assert passes.startswith("F")
    assert 1 <= passes.count("F") <= 3
    uncached = drawn(core, made, made.model, HELD_OUT)
    cached = drawn(core, made, made.planned, HELD_OUT)
    sampling = pack.module("comfy_nodes.sampling")
    assert sampling.speedup_of(made.planned).record.latest.log.kinds == passes
    assert sampling.speedup_of(made.model) is None
    measured = made.data["measured"]
    assert measured["latent_psnr_db"] == pytest.approx(decibels(uncached, cached), abs=0.02)
    fewer = drawn(core, made, made.model, HELD_OUT, steps=measured["fewer_steps"])
    assert measured["fewer_steps_db"] == pytest.approx(decibels(uncached, fewer), abs=0.02)
    assert not torch.equal(fewer, cached)
    assert measured["time_speedup"] >= 1.5
    reuse = STEPS - passes.count("F")
    assert STEPS / (passes.count("F") + reuse * measured["reuse_share"]) == pytest.approx(
        measured["time_speedup"], rel=0.01
    )
    about = {name: made.data[name] for name in ("model", "family", "sampler", "steps")}
    assert about == {"model": "SDXL", "family": "sdxl", "sampler": "euler", "steps": STEPS}
    assert (measured["prompts"], measured["scheduler"], measured["size"]) == (1, "simple", [SIDE, SIDE])


def test_the_report_says_it_in_words(made: Planned) -> None:
    measured = made.data["measured"]
    for told in (
        "made.json, for euler, simple, 5 steps",
        f"{measured['time_speedup']:.2f} times as fast, by median times",
        f"{measured['latent_psnr_db']:.1f} dB latent PSNR to the uncached run, median of 1 held-out prompts",
        "pip install matplotlib",
    ):
        assert told in made.report


def test_apply_cache_plan_finds_the_file_at_once(core: Core, made: Planned) -> None:
    kind = core.node("SkipstepApplyPlan")
    (options, more), *_ = [kind.INPUT_TYPES()["required"]["plan"]]
    assert "made.json" in (more["options"] if options == "COMBO" else options)
    (applied,) = core.call("SkipstepApplyPlan", model=made.model, plan="made.json")
    assert torch.equal(drawn(core, made, applied, 0), drawn(core, made, made.planned, 0))
    assert not torch.equal(drawn(core, made, applied, 0), drawn(core, made, made.model, 0))


def test_diffusers_form_of_the_model_takes_the_plan_and_gives_one_back(core: Core, made: Planned, pack: Pack) -> None:
    from skipstep.deepcache import speed_up
    from skipstep.deepcache._noise import log_sigmas
    from skipstep.demo import load_demo_sdxl
    from skipstep.plan import fingerprint, is_exact, load_plan, plan_options

    plan = load_plan(made.file)
    pipe = load_demo_sdxl()
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler.set_timesteps(STEPS)
    levels = log_sigmas(pipe.scheduler)
    assert levels is not None
    assert is_exact(plan, levels)
    options = plan_options(plan, model=fingerprint(pipe.unet), log_sigmas=levels)
    with speed_up(pipe, options) as run:
        pipe(PROMPTS[0], num_inference_steps=STEPS, width=SIDE, height=SIDE, output_type="latent")
        assert run.report.passes == made.data["passes"].replace(" ", "").replace("0", "r")

    theirs = replace(plan, fingerprint=fingerprint(pipe.unet))
    back = pack.module("comfy_nodes.sampling").speed_up(made.model, cache=theirs)
    assert torch.equal(drawn(core, made, back, 0), drawn(core, made, made.planned, 0))


def test_another_model_is_refused(core: Core, made: Planned, comfy_sdxl: TinySDXL) -> None:
    from host.models import draw

    (applied,) = core.call("SkipstepApplyPlan", model=comfy_sdxl.model, plan="made.json")
    assert made.file.is_file()
    with pytest.raises(PlanError, match="measured on another model \\(SDXL\\)"):
        draw(core, replace(comfy_sdxl, model=applied))


@pytest.mark.usefixtures("plans")
def test_gains_are_those_of_diffusers_and_reach_from_every_evaluation(core: Core, pack: Pack) -> None:
    from skipstep.demo import load_demo_sdxl
    from skipstep.plan import output_gains

    model, _, _ = core.call("SkipstepDemoCheckpoint", model="SDXL")
    gains = pack.module("comfy_nodes.planning.gains").sampler_gains
    new = pack.module("comfy_nodes.planning").RunSettings
    settings = new(sampler="euler", scheduler="simple", steps=8, cfg=CFG)
    scheduler = load_demo_sdxl().scheduler
    scheduler.set_timesteps(8)
    assert gains(model, settings) == pytest.approx(output_gains(scheduler), rel=1e-3)
    for sampler in ("euler_ancestral", "dpmpp_2m", "dpmpp_3m_sde", "uni_pc", "lcm", "res_multistep_cfg_pp"):
        found = gains(model, new(sampler=sampler, scheduler="simple", steps=8, cfg=CFG))
        assert len(found) == 8
        assert min(found) > 0
        assert found != gains(model, settings)


def test_the_plot_is_of_everything_that_was_tried(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    from skipstep.deepcache import DeepCache
    from skipstep.plan import Trial

    seen: list[Any] = []
    reference = torch.linspace(0, 1, 8).reshape(1, 8)

    class Figure:
        def savefig(self, buffer: Any, *, format: str) -> None:  # noqa: A002
            Image.new("RGB", (96, 60), (10, 200, 30)).save(buffer, format)

    def frontier_figure(frontier: Any) -> Figure:
        seen.append(frontier)
        return Figure()

    class Bench:
        settings = SimpleNamespace(steps=10)

        def __init__(self) -> None:
            self.reference = reference

        def latents(self, options: DeepCache, *, steps: int | None = None) -> torch.Tensor:
            return reference + (0.1 if options.interval == 1 and steps else 0.01)  # 20 and 40 dB

    plot = pack.module("comfy_nodes.planning.plot")
    monkeypatch.setattr(plot, "frontier_figure", frontier_figure)
    trials = [Trial(passes=(None,) * 10, slopes=None, work=work, psnr=30 + work) for work in (2.0, 5.0)]
    planner = SimpleNamespace(trials=trials, evaluations=10, measured=SimpleNamespace(work={0: 0.1}))
    outcome = SimpleNamespace(trial=trials[0])
    picture = plot.frontier_picture(Bench(), planner, outcome, title="a title")
    (frontier,) = seen
    assert (frontier.title, frontier.work) == ("a title", "UNet time on this machine")
    assert frontier.trials == [(5.0, 32.0), (2.0, 35.0)]
    assert frontier.chosen == (5.0, 32.0)
    assert [speed for speed, _ in frontier.verbatim] == pytest.approx([10 / 5.5, 10 / 4.6, 10 / 2.8])
    assert [round(psnr, 3) for _, psnr in frontier.verbatim] == [40.0] * 3
    assert [(speed, round(psnr, 3)) for speed, psnr in frontier.fewer_steps] == [(2.0, 20), (10 / 3, 20), (5.0, 20)]
    assert picture.shape == (1, 60, 96, 3)
    assert picture[0, 5, 5].tolist() == pytest.approx([10 / 255, 200 / 255, 30 / 255])


def test_the_node_shows_the_plot_and_the_text(made: Planned, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    import folder_paths

    from skipstep.plan import load_plan

    planning = pack.module("comfy_nodes.planning")
    asked: list[Any] = []

    def make(job: Any) -> Any:
        asked.append(job)
        return planning.MadePlan(plan=load_plan(made.file), text="some words", picture=torch.full((1, 6, 9, 3), 0.5))

    monkeypatch.setattr(planning.PlanJob, "make", make)
    node = pack.module("comfy_nodes.nodes.plan_cache").SkipstepPlanCache
    given = {**WIDGETS, "overwrite": True, "prompts": "a\nb\nc\nd\ne\nf\ng\nh\ni"}
    with torch.inference_mode():
        output = node.execute(model=made.model, clip=made.clip, name="made", **given)
    assert output.ui["text"] == ("some words",)
    (shown,) = output.ui["images"]
    assert shown["type"] == "temp"
    with Image.open(Path(folder_paths.get_temp_directory()) / shown["filename"]) as picture:
        assert picture.size == (9, 6)
    (job,) = asked
    assert [subject.seed for subject in job.subjects.search] == list(range(SEED, SEED + 7))
    assert [subject.seed for subject in job.subjects.held_out] == [SEED + 7, SEED + 8]
    assert job.latent.shape == (1, 4, SIDE // 8, SIDE // 8)


@pytest.mark.usefixtures("plans")
def test_a_clip_is_planned_from_its_conditioning_on_several_seeds(
    core: Core, comfy_svd: TinySVD, plans: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a search for a plan that pays would not end on a model of random weights
    monkeypatch.setattr(pack.module("comfy_nodes.planning.job"), "with_way_out", lambda *given: given[1])
    given = {**WIDGETS, "scheduler": "karras", "cfg": 2.0, "speed": 1.3, "seeds": 2}
    latent = {"samples": comfy_svd.latent["samples"][:2]}
    sides = {"positive": comfy_svd.positive, "negative": comfy_svd.negative, "latent": latent}
    core.call("SkipstepPlanCache", model=comfy_svd.model, name="clip", **sides, **given)
    data = json.loads((plans / "clip.json").read_text())
    assert data["family"] == "svd"
    measured = data["measured"]
    assert (measured["seeds"], measured["frames"], measured["size"]) == (1, 2, [128, 64])
    assert data["passes"].count("F") < STEPS


def test_cancelling_stops_at_the_next_step_and_writes_nothing(
    core: Core, comfy_sdxl: TinySDXL, pack: Pack, plans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    steps = 0
    progress = pack.module("comfy_nodes.planning.progress").StepProgress
    step = progress.step

    def cancelled(self: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            management.interrupt_current_processing()
        step(self)

    monkeypatch.setattr(progress, "step", cancelled)
    sides = {"positive": comfy_sdxl.positive, "negative": comfy_sdxl.negative}
    with pytest.raises(management.InterruptProcessingException):
        core.call("SkipstepPlanCache", model=comfy_sdxl.model, name="cancelled", seeds=2, **sides, **WIDGETS)
    assert steps == 3
    assert not management.processing_interrupted()
    assert not (plans / "cancelled.json").exists()


@pytest.mark.usefixtures("no_sampling", "plans")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../made", "letters, digits"),
        ("a/b", "letters, digits"),
        ("..", "letters, digits"),
        (".hidden", "letters, digits"),
        ("C:\\plan", "letters, digits"),
        ("a.progress", "letters, digits"),
        ("ends with dot.", "letters, digits"),
        ("", "my-plan"),
        ("made", "there is a plan 'made.json' in models/skipstep already: load it with Apply Cache Plan"),
        (" made.JSON ", "there is a plan 'made.json'"),
    ],
)
def test_names_are_checked_first(core: Core, made: Planned, name: str, problem: str) -> None:
    before = made.file.read_bytes()
    with pytest.raises(OptionError, match=problem):
        core.call(
            "SkipstepPlanCache", model=made.model, clip=made.clip, name=name, prompts="\n".join(PROMPTS), **WIDGETS
        )
    assert made.file.read_bytes() == before


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize("file", ["mine.json", "mine.safetensors"])
def test_a_file_that_is_no_plan_stays(core: Core, made: Planned, plans: Path, file: str) -> None:
    (plans / file).write_text('{"weights": 1}')
    given = {**WIDGETS, "overwrite": True}
    try:
        with pytest.raises(OptionError, match=f"has a file '{file}' that is not of a plan"):
            core.call("SkipstepPlanCache", model=made.model, clip=made.clip, name="mine", prompts="a\nb", **given)
        assert (plans / file).read_text() == '{"weights": 1}'
    finally:
        (plans / file).unlink()


@pytest.mark.usefixtures("no_sampling", "plans")
@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sampler_name": "heun"}, "plans go by one evaluation a step, and heun takes more"),
        ({"sampler_name": "dpm_adaptive"}, "dpm_adaptive takes more or chooses its own"),
        ({"prompts": "a fox\n# a comment\n"}, "a plan needs 2 prompts or more, got 1"),
        ({"prompts": "a fox\n\n a fox"}, "prompts has 'a fox' in line 1 and again in line 3"),
        ({"prompts": "\n"}, "holds no prompt"),
        ({"clip": None}, "connect either clip, for the prompts, or both positive and negative"),
        ({"positive": []}, "connect either clip"),
        ({"speed": 1.0}, "speed must be above 1"),
        ({"target": "psnr", "psnr": 5.0}, "psnr must be 10..100 dB"),
        ({"latent": {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": torch.ones(1)}}, "without a noise mask"),
    ],
)
def test_what_cannot_be_planned_is_refused_first(
    core: Core, made: Planned, changed: dict[str, Any], problem: str
) -> None:
    given = {**WIDGETS, "clip": made.clip, "prompts": "\n".join(PROMPTS), **changed}
    with pytest.raises(OptionError, match=problem):
        core.call("SkipstepPlanCache", model=made.model, name="refused", **given)


@pytest.mark.usefixtures("no_sampling", "plans")
def test_clips_need_their_latent(core: Core, comfy_svd: TinySVD, made: Planned) -> None:
    sides = {"positive": comfy_svd.positive, "negative": comfy_svd.negative}
    with pytest.raises(OptionError, match="connect the latent of SVD_img2vid_Conditioning"):
        core.call("SkipstepPlanCache", model=comfy_svd.model, name="refused", **sides, **WIDGETS)
    with pytest.raises(OptionError, match="starts from a picture: leave clip out"):
        core.call(
            "SkipstepPlanCache",
            model=comfy_svd.model,
            name="refused",
            clip=made.clip,
            prompts="a\nb",
            latent=comfy_svd.latent,
            **WIDGETS,
        )


@pytest.mark.usefixtures("no_sampling", "plans")
def test_what_is_no_unet_is_refused(core: Core, made: Planned) -> None:
    other = made.model.clone()
    other.add_object_patch("diffusion_model", torch.nn.Linear(2, 2))
    with pytest.raises(UnsupportedModelError, match="cannot be cached"):
        core.call("SkipstepPlanCache", model=other, clip=made.clip, name="refused", prompts="a\nb", **WIDGETS)


def test_either_target_is_searched_for_and_told_in_the_words_of_the_node(pack: Pack) -> None:
    from skipstep.plan import Trial

    target = pack.module("comfy_nodes.planning.target")

    class Planner:
        """10 evaluations; nothing is run."""

        evaluations = 10

        def most_full_passes(self, speedup: float) -> int:
            return int(10 / speedup)

        def best(self, full_passes: int) -> Trial:
            passes = (None,) * full_passes + (0,) * (10 - full_passes)
            return Trial(passes=passes, slopes=None, work=float(full_passes), psnr=0.0)

    def figures(trial: Trial) -> dict[str, Any]:
        full = trial.passes.count(None)
        return {"full_passes": full, "latent_psnr_db": 30.0 + full, "fewer_steps": full, "fewer_steps_db": 36.5}

    def full(kind: str, value: float) -> tuple[int, tuple[str, ...]]:
        outcome = target.reach(Planner(), target.target_of(kind, speed=value, psnr=value), figures)
        return outcome.trial.passes.count(None), outcome.advice

    assert full("speed", 1.25) == (8, ())
    assert full("psnr", 37) == (7, ())
    count, (advice,) = full("speed", 5)
    assert count == 2
    assert advice.endswith("(36.5 against 32.0 dB): take 2 steps without a cache instead of this plan")
    with pytest.raises(PlanError, match="gives 39. Sample without a cache, or take more steps"):
        full("psnr", 60)


def test_a_reuse_pass_that_gains_nothing_is_told(pack: Pack) -> None:
    measuring = pack.module("comfy_nodes.planning.measuring")

    class Report:
        full_s, reuse_s = (1.0, 1.0, 8.0), (0.95, 0.96, 0.94)

    class Passes:
        def report(self) -> Report:
            return Report()

    class Bench:
        def run(self, *_: Any, **__: Any) -> Any:
            return [(None, Passes())]

    with pytest.raises(PlanError, match="a reuse pass takes 95 % of the time of a full one"):
        measuring.reuse_share(Bench(), 8)
    Report.reuse_s = (0.1, 0.3, 0.8)
    assert measuring.reuse_share(Bench(), 8) == pytest.approx(0.1)


def test_it_runs_alone_in_a_server_and_the_next_graph_uses_the_plan(client: ComfyClient, tiny_models: Path) -> None:
    name = f"of process {os.getpid()}"
    files = [tiny_models / "skipstep" / f"{name}{suffix}" for suffix in (".json", ".safetensors")]
    demo = {"class_type": "SkipstepDemoCheckpoint", "inputs": {"model": "SDXL"}}
    given = {**WIDGETS, "steps": 5, "speed": 1.3, "name": name, "prompts": "a red apple\na fox"}
    plan = {"class_type": "SkipstepPlanCache", "inputs": {"model": ["demo", 0], "clip": ["demo", 1], **given}}
    try:
        outcome = client.run({"demo": demo, "plan": plan})
        assert outcome.status == "success", outcome.error
        assert f"{name}.json, for euler, simple, 5 steps" in outcome.outputs["plan"]["text"][0]
        assert any(message.kind == "progress" for message in outcome.messages)
        assert all(file.is_file() for file in files)
        drawn = client.run({"demo": demo, **_with_plan(f"{name}.json")})
        assert drawn.status == "success", drawn.error
        assert "cache: plan for euler, 5 steps, measured" in drawn.outputs["report"]["text"][0]
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _with_plan(name: str) -> dict[str, Any]:
    """A graph that samples with a plan and reports."""
    sampling = {"seed": 1, "steps": 5, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    sides = {"positive": ["text", 0], "negative": ["text", 0], "latent_image": ["latent", 0]}
    nodes = {
        "applied": ("SkipstepApplyPlan", {"model": ["demo", 0], "plan": name}),
        "text": ("CLIPTextEncode", {"clip": ["demo", 1], "text": "a red apple"}),
        "latent": ("EmptyLatentImage", {"width": SIDE, "height": SIDE, "batch_size": 1}),
        "sampler": ("KSampler", {"model": ["applied", 0], **sides, **sampling}),
        "report": ("SkipstepReport", {"model": ["applied", 0], "latent": ["sampler", 0]}),
        "saved": ("SaveLatent", {"samples": ["report", 0], "filename_prefix": "plan"}),
    }
    return {node: {"class_type": kind, "inputs": inputs} for node, (kind, inputs) in nodes.items()}
