"""The names of the miniature models, by which nodes load them."""

SDXL = "tiny_sdxl.safetensors"
SVD = "tiny_svd.safetensors"
CONTROLNET = "tiny_controlnet.safetensors"
LORA = "tiny_lora.safetensors"
CLIP_VISION = "tiny_clip_vision.safetensors"
