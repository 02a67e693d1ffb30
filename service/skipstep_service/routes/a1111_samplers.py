"""Samplers by the names of AUTOMATIC1111's web UI."""

from __future__ import annotations

from .adapting import refused

SAMPLERS = {
    "Euler": "euler",
    "Euler a": "euler_a",
    "Heun": "heun",
    "DPM2": "dpm2",
    "DPM++ 2M": "dpmpp_2m",
    "DPM++ 2M Karras": "dpmpp_2m_karras",
    "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DDIM": "ddim",
    "UniPC": "unipc",
    "PLMS": "pndm",
    "LCM": "lcm",
}
USUAL = "Euler"
_KARRAS = {"DPM++ 2M": "DPM++ 2M Karras"}
_OWN_SCHEDULE = ("", "automatic")


def label_of(name: str | None, scheduler: str | None) -> str:
    """The name in SAMPLERS of a sampler and its schedule of noise.

    Raises:
        InvalidRequestError: naming those that there are.
    """
    known = {label.lower(): label for label in SAMPLERS}
    label = known.get((name or USUAL).lower())
    if label is None:
        raise refused("sampler_name", f"sampler_name must be one of {', '.join(SAMPLERS)}")
    schedule = (scheduler or "").lower()
    if schedule in _OWN_SCHEDULE:
        return label
    if schedule == "karras":
        if label in _KARRAS.values():
            return label
        if label in _KARRAS:
            return _KARRAS[label]
    raise refused("scheduler", "scheduler must be Automatic, or Karras with DPM++ 2M; each sampler has its own here")
