"""What the pack gives to ComfyUI."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension

from ._package import find_skipstep


class SkipstepExtension(ComfyExtension):
    """All nodes of the pack."""

    async def get_node_list(self) -> list[Any]:
        """The node classes."""
        find_skipstep()
        from .folders import register_folder
        from .nodes import NODES
        from .onediff import onediff_nodes
        from .prompting.places import register_prompt_folders

        register_folder()  # here, since ComfyUI 0.3.75 does not call on_load
        register_prompt_folders()
        return [*NODES, *onediff_nodes()]
