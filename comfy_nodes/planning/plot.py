"""Speed against quality of everything that a search has run, as a picture."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skipstep.plan import Planner
from skipstep.plan.plot import Frontier, frontier_figure
from skipstep.plan.targets import Outcome
from skipstep.plan.verification import yardsticks

from .runs import SubjectBench

MISSING = "the plot needs matplotlib, which ComfyUI does not ship: pip install matplotlib"


def can_plot() -> bool:
    """Whether matplotlib can be used here."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def frontier_picture(bench: SubjectBench, planner: Planner, outcome: Outcome, *, title: str) -> Tensor:
    """The plot (1, height, width, 3) in 0..1; samples the search subjects with what the plan is compared to."""
    verbatim, fewer = yardsticks(bench, planner, steps=bench.settings.steps)
    figure = frontier_figure(
        Frontier(
            title=title,
            trials=[(trial.speedup, trial.psnr) for trial in planner.trials],
            chosen=(outcome.trial.speedup, outcome.trial.psnr),
            verbatim=verbatim,
            fewer_steps=fewer,
            work="UNet time on this machine",
        )
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pixels = np.asarray(Image.open(buffer).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels)[None]
