"""How often ComfyUI's samplers call the model; tests count it in a real ComfyUI."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# k-diffusion functions that call the model more than once a step: (evaluations a step, of n steps that end at 0, of n
# steps that end above it)
_SEVERAL: dict[str, tuple[int, Callable[[int], int], Callable[[int], int]]] = {
    **dict.fromkeys(
        (
            "heun",
            "exp_heun_2_x0",
            "exp_heun_2_x0_sde",
            "dpm_2",
            "dpm_2_ancestral",
            "dpmpp_2s_ancestral",
            "dpmpp_2s_ancestral_cfg_pp",
            "dpmpp_sde",
            "dpmpp_sde_gpu",
            "seeds_2",
        ),
        (2, lambda n: 2 * n - 1, lambda n: 2 * n),
    ),
    "sa_solver_pece": (2, lambda n: 2 * n - 1, lambda n: 2 * n - 1),
    "heunpp2": (3, lambda n: 3 * n - 3, lambda n: 3 * n - 3),
    "seeds_3": (3, lambda n: 3 * n - 2, lambda n: 3 * n),
}
_ONCE = frozenset(
    (
        *("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "lms", "ddpm", "lcm"),
        *("dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu"),
        *("dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "ipndm", "ipndm_v", "deis", "er_sde", "sa_solver"),
        *("res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp"),
        *("gradient_estimation", "gradient_estimation_cfg_pp", "unipc", "unipc_bh2"),
    )
)
_LOWEST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerRun:
    """One run of a sampler: its noise levels, and how often it calls the model, where that is known."""

    name: str
    sigmas: tuple[float, ...]  # of the steps, and where the last one ends
    evaluations_per_step: int
    evaluations: int | None

    @property
    def steps(self) -> int:
        """Denoising steps."""
        return len(self.sigmas) - 1

    @property
    def log_sigmas(self) -> tuple[float, ...] | None:
        """Natural logarithm of the noise level of each evaluation; None unless there is one evaluation a step."""
        if self.evaluations != self.steps:
            return None
        return tuple(math.log(max(sigma, _LOWEST)) for sigma in self.sigmas[:-1])


def sampler_run(sampler: Any, sigmas: Sequence[float]) -> SamplerRun:
    """The run of a ComfyUI `SAMPLER` over these sigmas; of an unknown one, or an adaptive one, the length is None."""
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", type(sampler).__name__).removeprefix("sample_")
    steps, ends_at_zero = len(sigmas) - 1, sigmas[-1] == 0
    order, evaluations = 1, None
    if name in _ONCE:
        evaluations = steps
    elif name in _SEVERAL:
        order, to_zero, above = _SEVERAL[name]
        evaluations = max((to_zero if ends_at_zero else above)(steps), steps)
    return SamplerRun(name=name, sigmas=tuple(sigmas), evaluations_per_step=order, evaluations=evaluations)
