"""Fields of AUTOMATIC1111's web UI that are not honoured, and what they may be all the same."""

from __future__ import annotations

from typing import Any

from .adapting import refused

NO_EFFECT = frozenset(
    {  # they change where things are kept, or only how a switch below works
        "comments",
        "denoising_strength",
        "disable_extra_networks",
        "do_not_save_grid",
        "do_not_save_samples",
        "firstphase_height",
        "firstphase_width",
        "force_task_id",
        "hr_additional_modules",
        "hr_checkpoint_name",
        "hr_negative_prompt",
        "hr_prompt",
        "hr_resize_x",
        "hr_resize_y",
        "hr_sampler_name",
        "hr_scale",
        "hr_scheduler",
        "hr_second_pass_steps",
        "hr_upscaler",
        "image_cfg_scale",
        "include_init_images",
        "infotext",
        "inpaint_full_res",
        "inpaint_full_res_padding",
        "inpainting_fill",
        "inpainting_mask_invert",
        "mask_blur",
        "mask_blur_x",
        "mask_blur_y",
        "mask_round",
        "override_settings_restore_afterwards",
        "refiner_switch_at",
        "s_tmax",
        "s_tmin",
        "save_images",
        "script_args",
        "seed_resize_from_h",
        "seed_resize_from_w",
        "subseed",
    }
)
SWITCHES = frozenset(
    {  # may be off
        "alwayson_scripts",
        "enable_hr",
        "eta",
        "latent_mask",
        "mask",
        "refiner_checkpoint",
        "restore_faces",
        "s_churn",
        "s_min_uncond",
        "script_name",
        "styles",
        "subseed_strength",
        "tiling",
    }
)
_OFF: tuple[Any, ...] = (None, False, 0, "", [], {})
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "send_images": (None, True),
    "s_noise": (None, 1),
    "initial_noise_multiplier": (None, 1),
}


def check_others(others: dict[str, Any]) -> None:
    """Refuse fields that are not known, and those that would change the picture.

    Raises:
        InvalidRequestError: naming the field.
    """
    for name, value in others.items():
        if name in NO_EFFECT:
            continue
        shown = name[:64] if name.isascii() and name.isidentifier() else "a field"
        if name not in SWITCHES and name not in _NEUTRAL:
            raise refused(shown, f"{shown} is not known here")
        if value not in _NEUTRAL.get(name, _OFF):
            raise refused(shown, f"{shown} cannot be honoured here; leave it out")
