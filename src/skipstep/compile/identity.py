"""What the code of a graph follows from besides the traced module: names for files."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from .. import __version__
from ..plan import fingerprint
from .signature import digest


def unet_identity(unet: Any, host: str) -> str:
    """Of a UNet of diffusers, its configuration and the package; of another, the code of its modules."""
    if not hasattr(unet, "config"):
        return module_identity(unet, host)
    package = sys.modules[type(unet).__module__.partition(".")[0]]
    settings = {key: value for key, value in dict(unet.config).items() if not key.startswith("_")}
    configuration = json.dumps(settings, sort_keys=True, default=str)
    return digest(fingerprint(unet).topology, configuration, __version__, getattr(package, "__version__", ""), host)


def module_identity(module: nn.Module, host: str) -> str:
    """Of a module whose package has no version that says all: the files that its classes are written in."""
    classes = {base for part in module.modules() for base in type(part).__mro__}
    sources = sorted({_source(kind) for kind in classes if not kind.__module__.startswith(("torch.", "builtins"))})
    return digest(type(module).__qualname__, sources, __version__, host)


@cache
def _source(kind: type) -> str:
    """The content of the file of a class; its name if it has no file."""
    try:
        content = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"
    return hashlib.sha256(content).hexdigest()
