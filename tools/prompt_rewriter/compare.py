"""What the model adds to held-out prompts, without and with the LoRA: `python -m prompt_rewriter.compare [FOLDER]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from skipstep.promptllm import (
    AdapterUse,
    ClipTokens,
    Engine,
    ExpandRequest,
    GgufEngine,
    HfEngine,
    PromptExpander,
    fetched_model,
    load_preset,
    rewriter_folder,
    unpacked_model,
)

from .pairs import pairs
from .styles import STYLES
from .subjects import HELD_OUT


def main() -> None:
    """Print for each prompt what is added, by the preset's own temperature and by none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path, nargs="?", default=rewriter_folder())
    parser.add_argument("--engine", choices=("gguf", "hf"), default="gguf")
    parser.add_argument("--count", type=int, default=4, help="prompts of each preset")
    parser.add_argument("--temperature", type=float)
    given = parser.parse_args()
    engine: Engine = GgufEngine(fetched_model()) if given.engine == "gguf" else HfEngine(unpacked_model())
    expander = PromptExpander(engine, tokens=ClipTokens())
    expander.adapters.add(given.adapter, name="tried")
    for preset in STYLES:
        for prompt, _ in pairs(preset, HELD_OUT, count=given.count, seed=2):
            print(f"{preset}: {prompt}")
            for name, uses in (("plain", ()), ("rewriter", (AdapterUse(name="tried"),))):
                made = expander.expand(
                    ExpandRequest(
                        prompt=prompt,
                        preset=load_preset(preset),
                        seed=1,
                        temperature=given.temperature,
                        adapters=uses,
                    )
                )
                print(f"  {name:<9} {made.added or made.reason}", flush=True)
    expander.close()


if __name__ == "__main__":
    main()
