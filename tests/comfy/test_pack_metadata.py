"""What ComfyUI, its manager and its registry read about the pack."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from comfy_host.folder import REPOSITORY
from comfy_host.pins import VERSIONS

if TYPE_CHECKING:
    from comfy_config.types import PyProjectConfig

FOLDERS = (REPOSITORY, REPOSITORY / "comfy_nodes")
NOT_OURS = (
    "torch",
    "torchvision",
    "torchaudio",
    "numpy",
    "xformers",
    "triton",
    "diffusers",
    "transformers",
    "skipstep",
)
COMFYUI = {
    "torch",
    "numpy",
    "PIL",
    "safetensors",
    "transformers",
    "comfy",
    "comfy_api",
    "comfyui_version",
    "folder_paths",
    "nodes",
}
IMPORTED_AS = {"scikit-image": "skimage"}
# of those, what somebody who has it chooses, or what diffusers pipelines and command lines need
CHOSEN = {"diffusers", "matplotlib", "onediff", "openvino", "triton"}
# and of those, what engines of the prompt LLM and the command line need, and what makes and converts adapters
CHOSEN |= {"accelerate", "bitsandbytes", "datasets", "gguf", "httpx", "llguidance", "peft", "trl", "xllamacpp"}
# what a Python of OneFlow's own runs, under its own name there, and what servers share compiled graphs through
CHOSEN |= {"flow_worker", "fsspec", "oneflow"}


def configuration(folder: Path) -> PyProjectConfig:
    from comfy_config.config_parser import extract_node_configuration

    read = extract_node_configuration(str(folder))
    assert read is not None
    return read


def requirements(folder: Path) -> list[str]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    return [re.split(r"[<>=!~ ]", line)[0] for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_comfyui_reads_the_projects_file(folder: Path) -> None:
    read = configuration(folder)
    assert re.fullmatch(r"[a-z][a-z-]{2,99}", read.project.name)
    assert "comfyui" not in read.project.name
    assert read.project.license.text == "Apache-2.0"
    assert read.project.supported_comfyui_version == f">={VERSIONS[-1]}"
    assert read.project.supported_os == ["OS Independent"]
    assert read.project.supported_accelerators == ["GPU :: NVIDIA CUDA"]
    assert read.tool_comfy.publisher_id
    assert "skipstep" in read.tool_comfy.display_name
    assert ElementTree.parse(folder / read.tool_comfy.icon).getroot().tag.endswith("svg")
    assert read.tool_comfy.web is None  # scripts would be loaded twice, see pyproject.toml
    assert all((folder / name).exists() for name in read.tool_comfy.includes)


def test_the_folder_has_the_version_of_the_package() -> None:
    source = (REPOSITORY / "src" / "skipstep" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert found is not None
    assert configuration(REPOSITORY / "comfy_nodes").project.version == found[1]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_requirements_leave_the_users_torch_alone(folder: Path) -> None:
    assert requirements(folder)
    assert not set(requirements(folder)) & set(NOT_OURS)


def test_requirements_are_what_the_nodes_import() -> None:
    parts = ("deepcache", "plan", "compile", "demo", "promptllm", "adapters")
    sources = [*(REPOSITORY / "comfy_nodes").rglob("*.py"), *(REPOSITORY / "src" / "skipstep").glob("*.py")]
    sources += [source for part in parts for source in (REPOSITORY / "src" / "skipstep" / part).rglob("*.py")]
    imported = {name for source in sources for name in imports(source)}
    required = {IMPORTED_AS.get(name, name) for name in requirements(REPOSITORY)}
    assert imported - set(sys.stdlib_module_names) - COMFYUI - CHOSEN - {"skipstep"} == required
    assert requirements(REPOSITORY) == requirements(REPOSITORY / "comfy_nodes")


def imports(source: Path) -> set[str]:
    """The top names of all that a file imports from outside of its package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_registry_gets_what_runs() -> None:
    ignored = (REPOSITORY / ".comfyignore").read_text().split()
    kept = ("__init__.py", "comfy_nodes", "locales", "src", "workflows", "requirements.txt", "LICENSE", "README.md")
    assert all((REPOSITORY / name).exists() for name in kept)
    assert not {f"/{name}" for name in kept} & {line.rstrip("/") for line in ignored}
