"""The prompt of a job, before and after a language model has added to it."""

from __future__ import annotations

from typing import Any

from skipstep.promptllm import Expansion

Request = dict[str, Any]  # of a job, as it is stored


def is_awaited(request: Request) -> bool:
    """Whether the prompt is to be expanded before the job can run."""
    return request.get("expand") is not None and "expansion" not in request


def drawn(request: Request) -> Request:
    """What is to be drawn: the request with the expanded prompt, and its negative prompt where there is none."""
    made = request.get("expansion")
    if made is None:
        return request
    return {**request, "prompt": made["prompt"], "negative_prompt": request["negative_prompt"] or made["negative"]}


def told(prompt: str, made: Expansion) -> Request:
    """An expansion, plain enough for JSON."""
    return {"original": prompt, **made.as_dict(), "adapters": list(made.adapters)}


def unchanged(request: Request, reason: str) -> Request:
    """An expansion that is the prompt as it was, where no model could be asked."""
    asked = request["expand"]
    return {
        "original": request["prompt"],
        "prompt": request["prompt"],
        "added": "",
        "negative": "",
        "clip_tokens": None,
        "seed": request["seed"] if asked["seed"] is None else asked["seed"],
        "engine": None,
        "model": None,
        "preset": asked["preset"],
        "seconds": 0.0,
        "adapters": [f"{one['name']}@{one['scale']:g}" for one in asked["adapters"] or ()],
        "reason": reason,
        "cached": False,
    }
