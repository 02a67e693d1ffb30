"""OneDiff's nodes that need nothing done today: what they were given goes through unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ._schema import old_schema, tell

_SAVED = "Take it out: compiled graphs are kept without being asked to"
_FOUND = "Take it out: compiled graphs are found without being asked for"


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One node: `passes` is the input that it gives on, or nothing where it ended a graph."""

    node_id: str
    now: str
    inputs: Callable[[], list[Any]]
    outputs: Callable[[], list[Any]] = list
    passes: str | None = None


def passage_node(passage: Passage) -> Any:
    """The node class of a passage."""

    class PassageNode(io.ComfyNode):
        """Gives on what it was given."""

        @classmethod
        def define_schema(cls) -> Any:
            """Inputs and outputs."""
            made = (passage.inputs(), passage.outputs())
            return old_schema(
                passage.node_id, now=f"{passage.now}.", inputs=made[0], outputs=made[1], shows=passage.passes is None
            )

        @classmethod
        def execute(cls, **given: Any) -> Any:
            """Say what to change."""
            passed = () if passage.passes is None else (given[passage.passes],)
            return io.NodeOutput(*passed, ui=tell(passage.node_id, passage.now))

    return PassageNode


def _name(name: str, default: str = "") -> Any:
    return io.String.Input(name, default=default, optional=True, tooltip="Without effect.")


PASSAGES = (
    Passage(
        node_id="ModelGraphLoader",
        now=_FOUND,
        inputs=lambda: [io.Model.Input("model"), _name("graph")],
        outputs=lambda: [io.Model.Output()],
        passes="model",
    ),
    Passage(
        node_id="VaeGraphLoader",
        now=_FOUND,
        inputs=lambda: [io.Vae.Input("vae"), _name("graph")],
        outputs=lambda: [io.Vae.Output()],
        passes="vae",
    ),
    Passage(
        node_id="ControlNetGraphLoader",
        now=_FOUND,
        inputs=lambda: [io.ControlNet.Input("control_net"), _name("graph")],
        outputs=lambda: [io.ControlNet.Output()],
        passes="control_net",
    ),
    Passage(
        node_id="ModelGraphSaver",
        now=_SAVED,
        inputs=lambda: [io.Latent.Input("samples"), io.Model.Input("model"), _name("filename_prefix", "unet")],
    ),
    Passage(
        node_id="VaeGraphSaver",
        now=_SAVED,
        inputs=lambda: [io.Image.Input("images"), io.Vae.Input("vae"), _name("filename_prefix", "vae")],
    ),
    Passage(
        node_id="ControlNetGraphSaver",
        now=_SAVED,
        inputs=lambda: [
            io.Latent.Input("samples"),
            io.ControlNet.Input("control_net"),
            _name("filename_prefix", "control_net"),
        ],
    ),
    Passage(
        node_id="BatchSizePatcher",
        now="Take it out: it named graph files after the batch, and graphs are found without that",
        inputs=lambda: [io.Model.Input("model"), io.Latent.Input("latent_image")],
        outputs=lambda: [io.Model.Output()],
        passes="model",
    ),
    Passage(
        node_id="ResolutionSpeedupChecker",
        now="Take it out: it switched nexfort off for some sizes, and here all sizes are compiled",
        inputs=lambda: [io.Latent.Input("samples")],
        outputs=lambda: [io.Latent.Output()],
        passes="samples",
    ),
    Passage(
        node_id="CompareModel",
        now="Take it out: it compared the weights of a model with those of OneFlow's copy, and here there is no copy",
        inputs=lambda: [
            io.Model.Input("torch_model"),
            io.Model.Input("oneflow_model"),
            io.Combo.Input("check", options=["enable", "disable"], optional=True, tooltip="Without effect."),
        ],
    ),
)
