"""`skipstep video`: a clip from a picture, or from a prompt by way of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..deepcache import DeepCache
from ..errors import OptionError
from ._clip import beside, compare_clips, draw_first_frame, print_costs, write_clip
from ._compile import new_compiler, print_compiling
from ._console import progress
from .image import Attention, BackendName, Branch, Cache, Debug, Device, Dtype, Forecast, Interval, Seed, Side, Verify

if TYPE_CHECKING:
    from PIL import Image

    from ..engine.video_request import VideoRequest

Picture = Annotated[Path | None, typer.Argument(help="The first frame: any picture; cropped to the clip's shape.")]
Out = Annotated[Path, typer.Option(help="Where to write: .mp4, .webm, .webp, .gif, or a folder for PNG files.")]
Prompt = Annotated[str | None, typer.Option(help="Instead of a picture: what to draw as the first frame.")]
ImageModel = Annotated[
    str | None, typer.Option(help="With --prompt: what draws; as --model of `skipstep image`, demo for the demo.")
]
Model = Annotated[str, typer.Option(help="demo-svd, a diffusers folder, or an SVD or SVD-XT single file.")]
Config = Annotated[Path | None, typer.Option(help="A diffusers folder with the configuration of a single file.")]
Frames = Annotated[int | None, typer.Option(help="How many; the model's own if not given: 14, or 25 for SVD-XT.")]
Fps = Annotated[int, typer.Option(help="Frames a second, which the model is told too.")]
Motion = Annotated[int, typer.Option(help="SVD's motion bucket, 1 to 255 in its training: more moves more.")]
Noise = Annotated[float, typer.Option(help="Noise on the picture: more lets the clip leave it further.")]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
MinGuidance = Annotated[float, typer.Option(help="Guidance of the first frame.")]
MaxGuidance = Annotated[float | None, typer.Option(help="Guidance of the last frame; 1 or less switches it off.")]
Chunk = Annotated[int | None, typer.Option(help="Frames that are decoded at once; fewer take less memory.")]
FeatureDtype = Annotated[str, typer.Option(help="How features are stored: same, float16 or bfloat16.")]
FeatureDevice = Annotated[str, typer.Option(help="Where features are stored: same, or cpu to spare the GPU.")]
Costs = Annotated[bool, typer.Option("--costs", help="Only show what each branch costs, and the memory; run nothing.")]
Compare = Annotated[bool, typer.Option("--compare", help="Also run without the cache; show speed-up and difference.")]
Rounds = Annotated[int | None, typer.Option(help="With --compare: how often to time both, in turns; 1.", min=1)]


def video(
    picture: Picture = None,
    out: Out = Path("clip.mp4"),
    prompt: Prompt = None,
    model: Model = "demo-svd",
    image_model: ImageModel = None,
    config: Config = None,
    frames: Frames = None,
    fps: Fps = 7,
    motion: Motion = 127,
    noise: Noise = 0.02,
    width: Side = None,
    height: Side = None,
    steps: Steps = 25,
    min_guidance: MinGuidance = 1.0,
    max_guidance: MaxGuidance = None,
    seed: Seed = None,
    cache: Cache = "balanced",
    interval: Interval = None,
    branch: Branch = None,
    forecast: Forecast = None,
    compare: Compare = False,
    rounds: Rounds = None,
    decode_chunk: Chunk = None,
    feature_dtype: FeatureDtype = "same",
    feature_device: FeatureDevice = "same",
    costs: Costs = False,
    backend: BackendName = "eager",
    attention: Attention = "auto",
    verify: Verify = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
) -> None:
    """Turn a picture into a clip, with the deep half of the UNet computed only now and then."""
    import torch

    from ..engine.models import DEMO, VIDEO_FAMILIES, load_model
    from ..engine.picture import read_picture
    from ..engine.video import VideoEngine
    from ..engine.video_files import check_video_output
    from ..engine.video_request import VideoRequest
    from ._console import quiet_libraries

    if (picture is None) == (prompt is None):
        raise OptionError("give a picture, or --prompt and what to draw as the first frame")
    if rounds is not None and not compare:
        raise OptionError(f"rounds is for --compare, got {rounds}; add --compare or leave it out")
    if image_model is not None and prompt is None:
        raise OptionError(f"image-model is for --prompt, got {image_model}; add --prompt or leave it out")
    given: dict[str, Any] = {"interval": interval, "branch": branch, "forecast": forecast}
    changes = {key: value for key, value in given.items() if value is not None}
    DeepCache(**changes, feature_dtype=feature_dtype, feature_device=feature_device)
    if not costs:
        check_video_output(out, fps=fps)
        if compare:
            check_video_output(beside(out, "compare"), fps=fps)
    compiler = new_compiler(backend, attention=attention, verify=verify)
    if not debug:
        quiet_libraries()
    options: dict[str, Any] = {} if seed is None else {"seed": seed}

    def ask(first: Image.Image) -> VideoRequest:
        return VideoRequest(
            picture=first,
            frames=frames,
            fps=fps,
            motion=motion,
            noise=noise,
            width=width,
            height=height,
            steps=steps,
            min_guidance=min_guidance,
            max_guidance=max_guidance,
            decode_chunk=decode_chunk,
            cache=cache,
            feature_dtype=feature_dtype,
            feature_device=feature_device,
            **options,
        )

    request = ask(_blank(width, height) if picture is None else read_picture(picture))
    loaded = load_model(model, config=config, device=device, dtype=dtype, families=VIDEO_FAMILIES)
    if loaded.is_demo:
        torch.set_num_threads(1)  # its operations are too small to share; threads that wait for each other cost more
    engine = VideoEngine(loaded, _calibrations(loaded, forecast), compiler)
    request = engine.complete(_changed(request, changes, loaded.family))
    if costs:
        print_costs(engine, request)
        return
    if prompt is not None:
        draws = image_model or (DEMO if loaded.is_demo else None)
        if draws is None:
            raise OptionError("--image-model is needed: the model that draws the first frame, as of `skipstep image`")
        first = draw_first_frame(prompt, draws, request, device=device, dtype=dtype, out=out)
        request = replace(request, picture=first)
    if compiler is not None:
        engine.warm_up([request])  # so that no time below holds any of compiling
    if compare:
        compare_clips(engine, request, out, rounds or 1)
    else:
        with progress() as bar:
            made = engine.generate(request, bar.follow(out.name))
        write_clip(made, out)
    print_compiling(compiler)


def _blank(width: int | None, height: int | None) -> Image.Image:
    """Stands for a picture that is drawn later, in its shape."""
    from PIL import Image

    return Image.new("RGB", (width or 8, height or width or 8))


def _calibrations(loaded: Any, forecast: str | None) -> Any:
    from ..engine.calibrations import CalibrationFolder, default_folder

    return CalibrationFolder(loaded.pipe.unet, default_folder()) if forecast == "calibrated" else None


def _changed(request: VideoRequest, changes: dict[str, Any], family: str) -> VideoRequest:
    from ..engine import preset
    from ..engine.caches import is_plan_path

    if not changes:
        return request
    assert isinstance(request.cache, str)
    if is_plan_path(request.cache):
        raise OptionError(f"--{next(iter(changes))} cannot change a plan ({request.cache}); leave one of them out")
    return replace(request, cache=replace(preset(request.cache, family), **changes))
