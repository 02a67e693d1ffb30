"""Without the optional packages the pack loads, and the node that needs one names it when it runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_host.folder import REPOSITORY, chosen_version, host_folder
from host.prompt_files import FILE, FOLDER, WARM

OPTIONAL = ("accelerate", "bitsandbytes", "gguf", "httpx", "llguidance", "peft", "rich", "trl", "typer", "xllamacpp")
PROGRAM = """
import json, sys
from pathlib import Path
sys.path += json.loads(sys.argv[1])
gone = set(json.loads(sys.argv[2]))
from host import process
tree, models, repository = map(Path, sys.argv[3:6])
prepared = process.prepare(tree)
(prepared.base / "models").symlink_to(models)
core = process.Core(prepared, version="")
pack = process.load_pack(core, repository, name="skipstep")
said = {"nodes": len(pack.node_ids), "loaded": sorted(gone & {name.partition(".")[0] for name in sys.modules})}
how = {"device": "cpu", "quantize": "none", "idle_seconds": 0.0}
expand = {"preset": "photo", "seed": 1, "temperature": -1.0, "max_clip_tokens": 77, "keep": True, "schema": False}
expand |= {"timeout": 60.0, "on_error": "original", "unload_after": False}
def tried(what, call):
    try:
        said[what] = call()
    except ImportError as error:
        said[what] = str(error)
load = lambda engine, model, **more: core.call(
    "SkipstepPromptLLMLoader", engine=engine, model=model, **{**how, **more})[0]
ask = lambda llm, **more: core.call("SkipstepPromptExpand", llm=llm, prompt="a cat", **{**expand, **more})[0]
file, folder, adapter = sys.argv[6:9]
tried("echo", lambda: ask(load("echo", file)))
tried("gguf", lambda: ask(load("gguf", file)))
tried("remote", lambda: core.call("SkipstepPromptLLMRemote", url="http://127.0.0.1:1", model="m"))
tried("hf", lambda: ask(load("hf", folder)))
tried("schema", lambda: ask(load("hf", folder), schema=True))
tried("adapter", lambda: ask(core.call("SkipstepPromptAdapter", llm=load("hf", folder), adapter=adapter, scale=1.0)[0]))
tried("quantize", lambda: ask(load("hf", folder, quantize="nf4")))
process.forget()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(prompt_files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What nodes give or say in a Python that has none of the packages, nor skipstep itself."""
    packages = tmp_path_factory.mktemp("packages")
    for entry in host_folder().packages.iterdir():
        if re.split(r"[.-]", entry.name)[0] not in OPTIONAL:
            (packages / entry.name).symlink_to(entry)
    paths = [str(REPOSITORY / "tests" / "comfy"), str(REPOSITORY / "tools"), str(packages)]
    places = [str(host_folder().tree(chosen_version())), str(prompt_files), str(REPOSITORY), FILE, FOLDER, WARM]
    line = [sys.executable, "-S", "-c", PROGRAM, json.dumps(paths), json.dumps(OPTIONAL), *places]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_pack_loads_all_nodes_and_none_of_the_packages(said: dict[str, object]) -> None:
    assert isinstance(said["nodes"], int)
    assert said["nodes"] > 18
    assert said["loaded"] == []


def test_what_needs_none_works(said: dict[str, object]) -> None:
    assert str(said["echo"]).startswith("a cat, ")
    assert str(said["hf"]).startswith("a cat")


@pytest.mark.parametrize(
    ("what", "packages"),
    [
        ("gguf", "xllamacpp gguf"),
        ("remote", "httpx"),
        ("schema", "llguidance"),
        ("adapter", "peft"),
        ("quantize", "bitsandbytes"),
    ],
)
def test_a_missing_package_is_named_with_the_line_to_run(said: dict[str, object], what: str, packages: str) -> None:
    assert str(said[what]).endswith(f"; with ComfyUI's Python: pip install {packages}")
