"""Samplers by the names people use, as diffusers scheduler classes with the options that make them so."""

from __future__ import annotations

from typing import Any

from ..errors import OptionError

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lcm": ("LCMScheduler", {}),
}


def check_sampler(name: str) -> None:
    """Refuse a sampler that is not in the table.

    Raises:
        OptionError: naming those that are.
    """
    if name not in SAMPLERS:
        raise OptionError(f"sampler must be one of {', '.join(SAMPLERS)}, got {name!r}")


def new_scheduler(name: str, config: Any) -> Any:
    """A scheduler of the sampler `name` for a model whose own scheduler has `config`."""
    import diffusers

    check_sampler(name)
    class_name, options = SAMPLERS[name]
    return getattr(diffusers, class_name).from_config(config, **options)
