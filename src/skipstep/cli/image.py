"""`skipstep image`: one picture from a prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..deepcache import DeepCache
from ..errors import OptionError
from ._compile import new_compiler, print_compiling
from ._console import decibels, print_comparison, print_run, progress, say
from ._expansion import with_expansion

Prompt = Annotated[str, typer.Argument(help="What to draw.")]
Out = Annotated[Path, typer.Option(help="Where to write the PNG; a file of that name is replaced.")]
Begin = Annotated[Path | None, typer.Option("--image", help="A picture to begin with, cropped and scaled to the size.")]
Strength = Annotated[
    float | None, typer.Option(help="With --image: how much of it may change, 0 to 1; 0.75 if not given.")
]
Model = Annotated[str, typer.Option(help="demo, demo-sd15, a diffusers folder, or an SDXL single file (.safetensors).")]
Config = Annotated[
    Path | None, typer.Option(help="A diffusers folder with configuration and tokenizers for a single file.")
]
Expand = Annotated[
    str | None, typer.Option(help="Add details to the prompt first: a preset of `skipstep prompt presets`.")
]
ExpandEngine = Annotated[
    str, typer.Option(help="With --expand: gguf or hf, the model of `skipstep prompt fetch`, or echo.")
]
ExpandAdapters = Annotated[
    list[str] | None,
    typer.Option("--expand-adapter", metavar="FOLDER[@SCALE]", help="With --expand: an adapter on its model."),
]
Loras = Annotated[
    list[str] | None, typer.Option("--lora", metavar="FILE[@SCALE]", help="A LoRA on the model; may be repeated.")
]
Negative = Annotated[str, typer.Option(help="What to keep out of the picture.")]
Side = Annotated[int | None, typer.Option(help="Pixels, a multiple of 8; the model's own if not given.")]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
Guidance = Annotated[float | None, typer.Option(help="Classifier-free guidance; 1 or less switches it off.")]
Seed = Annotated[int | None, typer.Option(help="0 to 4294967295; drawn at random if not given, and printed.")]
Sampler = Annotated[
    str,
    typer.Option(help="euler, euler_a, heun, dpm2, dpmpp_2m, dpmpp_2m_karras, dpmpp_2m_sde, ddim, unipc, pndm, lcm."),
]
Cache = Annotated[
    str, typer.Option(help="lossless, quality, balanced or fast, or a plan file (.json) of `skipstep plan`.")
]
Interval = Annotated[int | None, typer.Option(help="Instead of the preset's: evaluations per full pass.")]
Branch = Annotated[int | None, typer.Option(help="Instead of the preset's: the skip at which to cut; 0 is fastest.")]
Forecast = Annotated[
    str | None,
    typer.Option(
        help="Instead of the preset's: verbatim, linear, linear_log_sigma, quadratic, quadratic_log_sigma, calibrated."
    ),
]
BackendName = Annotated[
    str, typer.Option("--backend", help="eager, inductor, aot, openvino, oneflow or onediff; see `doctor`.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Check each compiled graph's first result against the model.")]
Attention = Annotated[str, typer.Option(help="auto, sdpa or xformers.")]
Compare = Annotated[bool, typer.Option("--compare", help="Also run without the cache; show speed-up and difference.")]
Rounds = Annotated[int | None, typer.Option(help="With --compare: how often to time both, in turns; 2.", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and all warnings.")]


def image(
    prompt: Prompt,
    out: Out = Path("image.png"),
    model: Model = "demo",
    config: Config = None,
    lora: Loras = None,
    negative: Negative = "",
    expand: Expand = None,
    expand_engine: ExpandEngine = "gguf",
    expand_adapter: ExpandAdapters = None,
    begin: Begin = None,
    strength: Strength = None,
    width: Side = None,
    height: Side = None,
    steps: Steps = 30,
    guidance: Guidance = None,
    seed: Seed = None,
    sampler: Sampler = "euler",
    cache: Cache = "balanced",
    interval: Interval = None,
    branch: Branch = None,
    forecast: Forecast = None,
    compare: Compare = False,
    rounds: Rounds = None,
    backend: BackendName = "eager",
    attention: Attention = "auto",
    verify: Verify = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
) -> None:
    """Draw a picture, with the deep half of the UNet computed only now and then."""
    import torch

    from ..engine import ImageEngine, ImageRequest, load_model, media
    from ..engine.calibrations import CalibrationFolder, default_folder
    from ..engine.picture import read_picture
    from ..engine.texts import describe
    from ..engine.unet_loras import check_lora, parsed_lora, put_on
    from ._console import quiet_libraries

    if rounds is not None and not compare:
        raise OptionError(f"rounds is for --compare, got {rounds}; add --compare or leave it out")
    options: dict[str, Any] = {} if seed is None else {"seed": seed}
    request = ImageRequest(
        prompt=prompt,
        negative_prompt=negative,
        width=width,
        height=height,
        steps=steps,
        guidance_scale=guidance,
        sampler=sampler,
        cache=cache,
        picture=None if begin is None else read_picture(begin),
        strength=strength,
        **options,
    )
    given: dict[str, Any] = {"interval": interval, "branch": branch, "forecast": forecast}
    changes = {key: value for key, value in given.items() if value is not None}
    DeepCache(**changes)
    media.check_output(out)
    loras = [parsed_lora(text) for text in lora or ()]
    found = [check_lora(file) for file, _ in loras]
    compiler = new_compiler(backend, attention=attention, verify=verify)
    if not debug:
        quiet_libraries()
    extra: dict[str, Any] = {}
    if loras:
        names = [{"file": file.name, "scale": scale} for file, scale in loras]
        extra["loras"] = [{**name, "sha256": info.sha256} for name, info in zip(names, found, strict=True)]
    if expand is not None:
        request, expansion = with_expansion(request, preset=expand, engine=expand_engine, adapters=expand_adapter)
        extra |= expansion
        say("expanded", request.prompt)
    loaded = load_model(model, config=config, device=device, dtype=dtype)
    put_on(loaded.pipe, loras)
    kept = CalibrationFolder(loaded.pipe.unet, default_folder()) if forecast == "calibrated" else None
    engine = ImageEngine(loaded, kept, compiler)
    if engine.model.is_demo:
        torch.set_num_threads(1)  # its operations are too small to share; threads that wait for each other cost more
    if changes:
        from ..engine import preset
        from ..engine.caches import is_plan_path

        if is_plan_path(cache):
            raise OptionError(f"--{next(iter(changes))} cannot change a plan ({cache}); leave one of them out")
        request = replace(request, cache=replace(preset(cache, engine.model.family), **changes))
    if compiler is not None:
        engine.warm_up([request])  # so that no time below holds any of compiling
    if compare:
        _compare(engine, request, out, rounds or 2, extra)
        return
    with progress() as bar:
        made = engine.generate(request, bar.follow(request.prompt))
    media.write_whole(out, media.png_bytes(made.image, describe(made, extra)))
    print_run(made, out)
    print_compiling(compiler)


def _compare(engine: Any, request: Any, out: Path, rounds: int, extra: dict[str, Any]) -> None:
    from ..engine import media
    from ..engine.compare import compare
    from ..engine.texts import describe

    sheet_path = out.with_name(f"{out.stem}-compare.png")
    media.check_output(sheet_path)
    with progress() as bar:
        result = compare(engine, request, rounds=rounds, on_run=lambda name, turn: bar.follow(f"{name} {turn + 1}"))
    comparison = {"comparison": result.as_dict(), **extra}
    texts = describe(result.cached, comparison)
    picture = media.png_bytes(result.cached.image, texts)
    captions = ("uncached", f"cached x{result.speedup:.2f}, {decibels(result.psnr)}")
    sheet = media.side_by_side(result.baseline.image, result.cached.image, captions)
    media.write_whole(sheet_path, media.png_bytes(sheet, texts))
    media.write_whole(out, picture)
    print_run(result.cached, out)
    print_comparison(result, sheet_path)
    print_compiling(engine.compiler)
