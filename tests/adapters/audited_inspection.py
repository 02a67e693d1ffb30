"""Inspects every folder of argument 2 under an audit hook; prints what was done as JSON.

The package is made without its `__init__`, which loads torch, so that what adapters alone load is seen. Argument 1
is the folder of skipstep's sources, argument 3 the JSON of the base model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_PROGRAMS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "exec", "compile")
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_WATCHED = ("pickle.find_class", "import", "ctypes.dlopen", "socket.__new__", "socket.connect", "tempfile.mkstemp")


def main(sources: str, root: str, base_text: str) -> None:
    package = ModuleType("skipstep")
    package.__path__ = [sources]
    sys.modules["skipstep"] = package
    from skipstep.adapters import BaseModel, Fingerprint, inspect_adapter
    from skipstep.errors import AdapterError

    fields = json.loads(base_text)
    linears = {name: (size[0], size[1]) for name, size in fields["linears"].items()}
    base = BaseModel(fingerprint=Fingerprint(**fields["fingerprint"]), heads=4, kv_heads=2, linears=linears)
    folders = sorted(Path(root).iterdir())
    seen: list[str] = []
    watching = True
    written = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event == "open":
            path, flags = arguments[0], arguments[2]
            inside = isinstance(path, int) or os.path.abspath(os.fsdecode(path)).startswith(root + os.sep)
            if not inside or flags & written:
                seen.append(f"open {path} {flags}")
        elif event in _PROGRAMS + _CHANGES + _WATCHED:
            seen.append(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(hook)
    reasons: dict[str, str] = {}
    for folder in folders:
        try:
            inspect_adapter(folder, root=Path(root), base=base)
            reasons[folder.name] = ""
        except AdapterError as error:
            reasons[folder.name] = str(error)
    watching = False
    loaded = sorted(name for name in ("torch", "numpy", "safetensors", "peft", "transformers") if name in sys.modules)
    json.dump({"reasons": reasons, "seen": seen, "loaded": loaded}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
