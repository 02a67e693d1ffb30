"""Draws with OpenAI's own client: a picture at once, then one that shows itself while it is drawn.

python openai_client.py "a red apple"
"""

from __future__ import annotations

import argparse
import base64
import os
from pathlib import Path

import openai


def draw(client: openai.OpenAI, prompt: str, folder: Path) -> None:
    """Wait for a picture; what OpenAI's API does not have goes through `extra_body`."""
    ours = {"steps": 30, "seed": 1, "acceleration": {"preset": "balanced"}}
    made = client.images.generate(prompt=prompt, extra_body=ours)
    for index, picture in enumerate(made.data or []):
        _write(folder / f"openai-{index}.png", picture.b64_json)
    print(f"job        {(made.model_extra or {})['job_id']}")


def draw_in_parts(client: openai.OpenAI, prompt: str, folder: Path) -> None:
    """Show previews as they come; quick pictures have fewer than were asked for."""
    stream = client.images.generate(prompt=prompt, stream=True, partial_images=3, extra_body={"steps": 50})
    for event in stream:
        if event.type == "image_generation.partial_image":
            _write(folder / f"openai-partial-{event.partial_image_index}.{event.output_format}", event.b64_json)
        elif event.type == "image_generation.completed":
            _write(folder / "openai-streamed.png", event.b64_json)


def _write(path: Path, encoded: str | None) -> None:
    path.write_bytes(base64.b64decode(encoded or ""))
    print(f"wrote      {path}")


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("prompt")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    with openai.OpenAI(base_url=given.url, api_key=os.environ.get("SKIPSTEP_KEY", "none")) as client:
        draw(client, given.prompt, given.out)
        draw_in_parts(client, given.prompt, given.out)


if __name__ == "__main__":
    main()
