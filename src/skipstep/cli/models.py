"""`skipstep models`: what can be drawn with, and what the demo models know."""

from __future__ import annotations

from rich.table import Table

from ._console import console


def models() -> None:
    """List the models, their presets and what the demo models can draw."""
    from ..demo import COLOURS, MOTIONS, OBJECTS
    from ..engine import PRESETS

    console.print("demo ships with skipstep: SDXL's topology, 128 x 128 pixels, no download.")
    console.print("demo-sd15 too: SD1.5's topology, epsilon prediction.")
    console.print(f"  objects: {', '.join(OBJECTS)}")
    console.print(f"  backgrounds: {', '.join(COLOURS)}")
    console.print('  try: "a fox on a blue background", "a cat and a dog on a white background", "a red apple"')
    console.print("demo-svd makes clips of these: SVD's topology, 14 frames; every object moves in its own way.")
    for motion, objects in MOTIONS.items():
        console.print(f"  {motion}: {', '.join(objects)}")
    console.print('  try: skipstep video --prompt "a frog on a blue background" --motion 200 --out frog.mp4')
    console.print("--model FOLDER is any diffusers folder of Stable Diffusion XL or 1.5, or for clips of SVD.")
    console.print("--model FILE.safetensors is any SDXL or SVD single file; pickles (.ckpt, .pt, .bin) are refused.")
    table = Table(box=None, pad_edge=False)
    for heading in ("family", "preset", "interval", "branch", "forecast"):
        table.add_column(heading)
    for family, presets in PRESETS.items():
        for name, cache in presets.items():
            reuse = (str(cache.branch), str(cache.forecast)) if cache.interval > 1 else ("-", "-")
            table.add_row(family, name, str(cache.interval), *reuse)
    console.print(table)
    console.print(
        "these are general settings; on the demo model presets are plans, and `skipstep plan` makes one for yours"
    )
