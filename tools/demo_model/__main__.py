"""Trains the demo models: `python -m demo_model COMMAND`, run inside `tools/`. The steps are in `README.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .sprites import render_sheet
from .text import write_tokenizer
from .training import Settings

app = typer.Typer(add_completion=False, help=__doc__)
CHECKPOINTS = Path(__file__).parents[2] / ".checkpoints"
TOKENIZER = Path(__file__).parents[2] / "src/skipstep/demo/tokenizer"
Steps = Annotated[int, typer.Option(help="Optimizer steps; a checkpoint resumes where it stopped.")]


@app.command()
def sprites() -> None:
    """Render the sprite sheet from the npm package of Noto Emoji."""
    render_sheet()


@app.command()
def tokenizer() -> None:
    """Write CLIP's vocabulary from the PyPI package open_clip_torch."""
    write_tokenizer(TOKENIZER)


@app.command()
def unet(steps: Steps = 5500) -> None:
    """Train the UNet and both text encoders (one thread, about two hours)."""
    from transformers import CLIPTokenizer

    from .train_unet import train_unet

    settings = Settings(steps=steps, batch=32, lr=1.2e-3, checkpoint=CHECKPOINTS / "unet.pt")
    train_unet(CLIPTokenizer.from_pretrained(TOKENIZER), settings)


@app.command()
def sd15(steps: Steps = 4000, level_steps: Steps = 1500, last_steps: Steps = 1700) -> None:
    """Train the second model, of SD1.5's shape and with epsilon prediction (one thread, about two hours)."""
    from transformers import CLIPTokenizer

    from .train_sd15 import train_sd15

    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    first = Settings(steps=steps, batch=32, lr=1.2e-3, seed=3, checkpoint=CHECKPOINTS / "sd15-first.pt")
    train_sd15(tokenizer, first)
    levels = Settings(steps=level_steps, batch=32, lr=8e-4, seed=4, checkpoint=CHECKPOINTS / "sd15-levels.pt")
    train_sd15(tokenizer, levels, start=first.checkpoint, levels=1.0)
    last = Settings(steps=last_steps, batch=32, lr=1e-3, seed=5, decay_from=0.55, checkpoint=CHECKPOINTS / "sd15.pt")
    train_sd15(tokenizer, last, start=levels.checkpoint, levels=0.05)


@app.command()
def svd(
    small_steps: Steps = 1500, medium_steps: Steps = 1000, large_steps: Steps = 1200, last_steps: Steps = 1900
) -> None:
    """Train the video UNet and its image encoder, small clips first (one thread, about two hours)."""
    from .train_svd import Stage, train_svd

    small = Settings(steps=small_steps, batch=8, lr=1.5e-3, seed=6, checkpoint=CHECKPOINTS / "svd-small.pt")
    train_svd(small, Stage(scale=0.5, frames=(8,), log_sigma=0.7))
    medium = Settings(steps=medium_steps, batch=4, lr=1e-3, seed=7, checkpoint=CHECKPOINTS / "svd-medium.pt")
    train_svd(medium, Stage(scale=0.75, frames=(10,), log_sigma=0.5), start=small.checkpoint)
    large = Settings(
        steps=large_steps, batch=2, lr=1e-3, seed=8, decay_from=0.5, checkpoint=CHECKPOINTS / "svd-large.pt"
    )
    train_svd(large, Stage(scale=1, frames=(14,), log_sigma=0.5), start=medium.checkpoint)
    last = Settings(steps=last_steps, batch=2, lr=1.2e-3, seed=11, decay_from=0.5, checkpoint=CHECKPOINTS / "svd.pt")
    train_svd(last, Stage(scale=1, frames=(14, 7), log_sigma=0.5), start=large.checkpoint)


@app.command()
def decoder(steps: Steps = 6000, whole_steps: Steps = 1200) -> None:
    """Train the VAE's decoder on crops, then on whole pictures (one thread, about an hour)."""
    from .train_vae import train_decoder, whole_pictures

    crops = Settings(steps=steps, batch=12, lr=2e-3, checkpoint=CHECKPOINTS / "decoder-crops.pt")
    train_decoder(crops)
    whole = Settings(steps=whole_steps, batch=6, lr=1e-3, seed=2, checkpoint=CHECKPOINTS / "decoder.pt")
    train_decoder(whole, start=crops.checkpoint, pictures=whole_pictures)


@app.command()
def svd_decoder(steps: Steps = 600, whole_steps: Steps = 150) -> None:
    """Train the video VAE's decoder from the image VAE's, on crops, then on whole frames (one thread, 25 minutes)."""
    from .train_svd_vae import train_video_decoder

    crops = Settings(steps=steps, batch=3, lr=1e-3, seed=9, checkpoint=CHECKPOINTS / "svd-decoder-crops.pt")
    train_video_decoder(crops, side=64, start=CHECKPOINTS / "decoder.pt", image_decoder=True)
    whole = Settings(steps=whole_steps, batch=1, lr=5e-4, seed=10, checkpoint=CHECKPOINTS / "svd-decoder.pt")
    train_video_decoder(whole, side=128, start=crops.checkpoint)


@app.command()
def encoder(steps: Steps = 1200, whole_steps: Steps = 600) -> None:
    """Train the VAE's encoder on crops, then on whole pictures (one thread, about ten minutes)."""
    from .train_vae import train_encoder, whole_pictures

    crops = Settings(steps=steps, batch=12, lr=2e-3, ema=0.99, checkpoint=CHECKPOINTS / "encoder-crops.pt")
    train_encoder(crops)
    whole = Settings(steps=whole_steps, batch=6, lr=1e-3, seed=2, ema=0.99, checkpoint=CHECKPOINTS / "encoder.pt")
    train_encoder(whole, start=crops.checkpoint, pictures=whole_pictures)


@app.command()
def export() -> None:
    """Write the weights that ship from the newest checkpoints."""
    from transformers import CLIPTokenizer

    from .export import export as write

    write(CLIPTokenizer.from_pretrained(TOKENIZER), CHECKPOINTS, TOKENIZER.parent)


@app.command()
def export_sd15() -> None:
    """Write the second model's weights from its newest checkpoint; it shares the VAE of the first."""
    from transformers import CLIPTokenizer

    from .export import export_sd15 as write

    write(CLIPTokenizer.from_pretrained(TOKENIZER), CHECKPOINTS, TOKENIZER.parent)


@app.command()
def export_svd() -> None:
    """Write the video model's weights from its newest checkpoints."""
    from .export import export_svd as write

    write(CHECKPOINTS, TOKENIZER.parent)


@app.command()
def evaluate(
    model: Annotated[Literal["demo", "demo-sd15"], typer.Option(help="Which of the two that ship.")] = "demo",
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 3.0,
    sheet: Annotated[Path, typer.Option(help="Where to write the pictures.")] = Path("demo-sheet.png"),
) -> None:
    """Draw 64 prompts with the shipped weights and count how many subjects and colours are right."""
    from skipstep.demo import load_demo_sd15, load_demo_sdxl

    from .evaluate import NearestRender, contact_sheet, draw, evaluation_subjects

    subjects = evaluation_subjects()
    pipe = load_demo_sdxl() if model == "demo" else load_demo_sd15()
    images = draw(pipe, subjects, guidance=guidance)
    contact_sheet(images).save(sheet)
    named = NearestRender().name(images)
    pairs = list(zip(named, subjects, strict=True))
    print(f"subject right: {sum(a.name == b.name for a, b in pairs)} of {len(pairs)}")
    print(f"colour right: {sum(a.colour == b.colour for a, b in pairs)} of {len(pairs)}")


@app.command()
def evaluate_svd(
    guidance: Annotated[float, typer.Option(help="Guidance of the last frame.")] = 2.0,
    clips: Annotated[int, typer.Option(help="How many of the 24.")] = 24,
    sheet: Annotated[Path, typer.Option(help="Where to write truth and clips, in turns.")] = Path("demo-svd-sheet.png"),
) -> None:
    """Make clips with the shipped weights and compare them with the true ones."""
    from statistics import median

    import torch

    from skipstep.demo import load_demo_svd

    from .evaluate_svd import FRAMES, evaluation_clips, score
    from .evaluate_svd import sheet as as_sheet

    torch.set_num_threads(1)
    pipe, scores, rows = load_demo_svd(), [], []
    for seed, clip in enumerate(evaluation_clips()[:clips]):
        figures, frames = score(pipe, clip, seed=seed, guidance=guidance)
        scores.append(figures)
        rows += [clip.frames(FRAMES), frames]
        print(
            f"{figures.name} ({figures.motion}, bucket {figures.bucket}): first frame {figures.first_psnr:.1f} dB, all "
            f"{figures.psnr:.1f} dB (standing still {figures.still_psnr:.1f}), centre moves {figures.travel:.1f} of "
            f"{figures.true_travel:.1f} pixels",
            flush=True,
        )
    as_sheet(rows).save(sheet)
    print(f"first frame: {median(s.first_psnr for s in scores):.1f} dB")
    print(f"all frames: {median(s.psnr for s in scores):.1f} dB")
    print(f"nearer to the truth than a clip that stands still: {sum(s.psnr > s.still_psnr for s in scores)}")
    moves = [s for s in scores if s.motion in ("hop", "glide", "float")]
    pairs = torch.tensor([[s.travel, s.true_travel] for s in moves]).T
    print(f"travel of hopping, gliding, floating objects: correlation {torch.corrcoef(pairs)[0, 1]:.3f} with the truth")


if __name__ == "__main__":
    app()
