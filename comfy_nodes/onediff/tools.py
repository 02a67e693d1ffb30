"""OneDiff's tools beside its speed-ups: two pictures compared, and prompts in styles."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from comfy_api.latest import io, ui

from skipstep.errors import MissingExtraError, OptionError, UnsupportedFeatureError

from ._schema import old_schema, tell

NO_STYLE = "(No style)"


class ShowImageDiff(io.ComfyNode):
    """Two sets of pictures, their difference and SSIM."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return old_schema(
            "ShowImageDiff",
            now="Today: Compare with Baseline, which draws both pictures itself.",
            inputs=[
                io.Image.Input("images1"),
                io.Image.Input("images2"),
                # both are text, because OneDiff's first version had other widgets in these places
                io.String.Input("ssim_threshold", default="0.9", optional=True),
                io.String.Input("raise_if_diff", default="enable", optional=True, tooltip="enable or disable."),
                io.String.Input("image_id", default="ComfyUI", optional=True, tooltip="A name, for messages."),
            ],
            outputs=[],
            shows=True,
        )

    @classmethod
    def execute(
        cls,
        images1: Any,
        images2: Any,
        ssim_threshold: str = "0.9",
        raise_if_diff: str = "enable",
        image_id: str = "ComfyUI",
    ) -> Any:
        """Show the difference.

        Raises:
            OptionError: if `raise_if_diff` is on and a pair is less alike than `ssim_threshold`.
            MissingExtraError: if `raise_if_diff` is on without scikit-image.
        """
        difference = (images1 - images2).abs()
        told = f"{image_id}: largest difference {float(difference.max()):.4f} of 1"
        ssim = _least_ssim(images1, images2)
        if ssim is not None:
            told += f", SSIM {ssim:.6f}"
        if raise_if_diff == "enable":
            if ssim is None:
                raise MissingExtraError("ShowImageDiff needs scikit-image to compare: pip install scikit-image")
            if ssim <= float(ssim_threshold):
                raise OptionError(f"{told}: not above the ssim_threshold of {ssim_threshold}")
        return io.NodeOutput(ui={**ui.PreviewImage(difference, cls=cls).as_dict(), **tell("ShowImageDiff", told)})


class CLIPTextEncodePromptStyle(io.ComfyNode):
    """Two prompts at once; without OneDiff's list of styles."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        text: dict[str, Any] = {"multiline": True, "dynamic_prompts": True}
        switch: dict[str, Any] = {"default": True, "optional": True, "label_on": "yes", "label_off": "no"}
        return old_schema(
            "CLIPTextEncodePromptStyle",
            now="Today: two nodes CLIP Text Encode (Prompt), with the words of the style written out.",
            inputs=[
                io.String.Input("text_positive", **text),
                io.String.Input("text_negative", **text),
                io.String.Input("style", default=NO_STYLE, optional=True),
                io.Clip.Input("clip"),
                io.Boolean.Input("log_prompt", **switch, tooltip="Without effect."),
                io.Boolean.Input("style_positive", **switch),
                io.Boolean.Input("style_negative", **switch),
            ],
            outputs=[io.Conditioning.Output("positive"), io.Conditioning.Output("negative")],
        )

    @classmethod
    def execute(
        cls,
        text_positive: str,
        text_negative: str,
        clip: Any,
        style: str = NO_STYLE,
        style_positive: bool = True,
        style_negative: bool = True,
        **_: Any,
    ) -> Any:
        """Encode both.

        Raises:
            UnsupportedFeatureError: if a style is asked for.
        """
        if style != NO_STYLE and (style_positive or style_negative):
            raise UnsupportedFeatureError(
                f"the words of the style {style!r} came with OneDiff and not with skipstep: use two nodes CLIP Text "
                f"Encode (Prompt) and write them out, or choose the style {NO_STYLE!r}"
            )
        encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (text_positive, text_negative)]
        return io.NodeOutput(*encoded)


def _least_ssim(images1: Any, images2: Any) -> float | None:
    """Of the pairs, as 8-bit pictures; None without scikit-image."""
    if not find_spec("skimage"):
        return None
    from skimage.metrics import structural_similarity

    pairs = [
        [(255 * side).clamp(0, 255).byte().cpu().numpy() for side in pair]
        for pair in zip(images1, images2, strict=True)
    ]
    return min(float(structural_similarity(one, other, channel_axis=2)) for one, other in pairs)
