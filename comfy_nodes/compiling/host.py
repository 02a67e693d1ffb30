"""What the code of ComfyUI's models depends on besides the models: its version, and how it was started."""

from __future__ import annotations


def host_switches() -> str:
    """In words that are the same in every process that was started alike: names of files with graphs go by it."""
    import comfy.model_management as management
    import comfyui_version
    from comfy.cli_args import args
    from comfy.ldm.modules import attention

    attend = attention.optimized_attention.__name__, attention.optimized_attention_masked.__name__
    upcast = management.force_upcast_attention_dtype(), getattr(args, "dont_upcast_attention", False)
    return repr(("ComfyUI", comfyui_version.__version__, attend, upcast))
