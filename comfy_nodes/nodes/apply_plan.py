"""Plans from files."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.plan import load_plan

from ..folders import plan_file, plan_names
from ..sampling import speed_up
from ._schema import CATEGORY, new_schema


class SkipstepApplyPlan(io.ComfyNode):
    """A plan that was measured on this model."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepApplyPlan",
            display_name="Apply Cache Plan",
            category=CATEGORY,
            description=(
                "Reuses features where a plan says so: a schedule that was searched and measured on this very model, "
                "sampler and number of steps, by Plan Cache or `skipstep plan`. Plans are files in models/skipstep. A "
                "plan for other steps or another sampler is stretched; a plan for another model is refused."
            ),
            search_aliases=["DeepCache plan", "skipstep plan"],
            inputs=[
                io.Model.Input("model", tooltip="The model that the plan was made for; it is not changed."),
                io.Combo.Input("plan", options=plan_names(), tooltip="A plan file (.json) in models/skipstep."),
            ],
            outputs=[io.Model.Output(tooltip="The same model, sped up when it is sampled from.")],
        )

    @classmethod
    def execute(cls, model: Any, plan: str) -> Any:
        """Put the plan on a clone of the model."""
        return io.NodeOutput(speed_up(model, cache=load_plan(plan_file(plan))))

    @classmethod
    def fingerprint_inputs(cls, plan: str, **_linked: Any) -> Any:
        """Runs again when the file has changed."""
        return plan, plan_file(plan).stat().st_mtime_ns
