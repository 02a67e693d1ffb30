"""What ComfyUI finds when the whole repository lies in `custom_nodes/`: the pack in `comfy_nodes/`."""

try:
    from .comfy_nodes import comfy_entrypoint  # noqa: F401
except ImportError as error:  # pytest imports this file as a module without a package
    if "no known parent package" not in str(error):
        raise

WEB_DIRECTORY = "./comfy_nodes/web"
