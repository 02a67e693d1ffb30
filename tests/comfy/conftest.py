"""Fixtures of the tests against a real ComfyUI: in this process, as a server, and in a browser.

They run in the environment of a host (`tools/comfy_host`), which `make test-comfy` installs; elsewhere every test
is skipped without importing anything. `SKIPSTEP_COMFY_VERSION` chooses the ComfyUI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comfy_host.folder import REPOSITORY, chosen_version, host_folder
from comfy_host.pins import NEWEST
from host import policy, process

if TYPE_CHECKING:
    from comfy_host.server import Server
    from host.browser import Browser, Frontend
    from host.client import ComfyClient
    from host.models import TinySDXL, TinySVD
    from host.scenes import Studio
    from host.servers import Servers

    Plain = Callable[[str, str], torch.Tensor]

HERE = Path(__file__).parent
NO_HOST = "needs a real ComfyUI: run `make test-comfy`"


def in_host() -> bool:
    """Whether this process runs in the environment that ComfyUI was installed for."""
    return host_folder().is_current() and host_folder().tree(chosen_version()).is_dir()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "newest: runs with the newest of the pinned ComfyUIs only")
    config.addinivalue_line("markers", "whole: all of its parameters run in a quick run with the newest, too")
    config.addinivalue_line("markers", "long: does not run in a quick run")


def pytest_unconfigure() -> None:
    process.forget()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if in_host():
        process.prepare(host_folder().tree(chosen_version()))
        return None
    module = policy.NotRun.from_parent(parent, path=module_path)
    module.reason = NO_HOST
    return module


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    with policy.own_warnings_only():  # while a test module imports ComfyUI
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        policy.mark_filters(item)
    policy.mark_groups(ours)
    is_newest = chosen_version() == NEWEST
    if not is_newest:
        policy.skip_of_newest(ours, newest=NEWEST)
    if config.getoption("--quick", default=False):
        policy.make_quick(ours, is_newest=is_newest)


@pytest.fixture(scope="session")
def tiny_models() -> Path:
    """A ComfyUI `models` folder with miniature models; kept in the host from one run to the next."""
    process.prepare(host_folder().tree(chosen_version()))
    with policy.own_warnings_only():
        from host.tiny_checkpoints import ensure_models

    names = ("host/tiny_checkpoints.py", "host/tiny_pack/__init__.py", "host/prompt_files.py", "../tiny_folder.py")
    made_by = [HERE / name for name in names]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_by)).hexdigest()
    return ensure_models(host_folder().cache("tiny-models") / f"{chosen_version()}-{digest[:12]}")


@pytest.fixture(scope="session")
def core(tiny_models: Path) -> process.Core:
    """ComfyUI in this process with all core nodes: `core.call("EmptyLatentImage", width=64, ...)`."""
    prepared = process.prepare(host_folder().tree(chosen_version()))
    (prepared.base / "models").symlink_to(tiny_models, target_is_directory=True)
    with policy.own_warnings_only():
        core = process.Core(prepared, version=chosen_version())
        core.load_extras()
        process.load_pack(core, HERE / "host" / "tiny_pack", name="tiny_pack")
    return core


@pytest.fixture(scope="session")
def pack(core: process.Core) -> process.Pack:
    """Our pack, loaded into `core` as ComfyUI loads the whole repository."""
    return process.load_pack(core, REPOSITORY, name="skipstep")


@pytest.fixture(scope="session")
def _loaded_sdxl(core: process.Core) -> TinySDXL:
    from host.models import load_sdxl

    return load_sdxl(core)


@pytest.fixture(scope="session")
def _loaded_svd(core: process.Core) -> TinySVD:
    from host.models import load_svd

    return load_svd(core)


@pytest.fixture
def comfy_sdxl(_loaded_sdxl: TinySDXL) -> TinySDXL:
    """The miniature SDXL; its model is a clone, so a test may patch it."""
    return replace(_loaded_sdxl, model=_loaded_sdxl.model.clone())


@pytest.fixture
def comfy_svd(_loaded_svd: TinySVD) -> TinySVD:
    """The miniature SVD; its model is a clone, so a test may patch it."""
    return replace(_loaded_svd, model=_loaded_svd.model.clone())


@pytest.fixture(scope="session")
def comfy_controlnet(core: process.Core) -> Any:
    """The miniature ControlNet, for the miniature SDXL."""
    from host.models import load_controlnet

    return load_controlnet(core)


@pytest.fixture(scope="session")
def servers(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Real servers with the pack and the miniature models: `servers.get("repository")`, or `"folder"`."""
    from host.servers import Servers

    folder = tmp_path_factory.mktemp("comfy")
    servers = Servers(host_folder(), version=chosen_version(), models=tiny_models, folder=folder)
    yield servers
    servers.stop()


@pytest.fixture
def server(servers: Servers) -> Server:
    """A real server, in which the whole repository is the pack."""
    return servers.get("repository")


@pytest.fixture
def client(server: Server) -> Iterator[ComfyClient]:
    """A client of `server`."""
    from host.client import ComfyClient

    with ComfyClient(server.url) as client:
        yield client


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium: `browser.open(server.url)`."""
    from host.browser import Browser, find_chromium

    chromium = find_chromium()
    if chromium is None:
        pytest.skip("needs Chromium: run `apt-get install chromium`")
    browser = Browser(chromium)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def _window(browser: Browser, servers: Servers) -> Frontend:
    return browser.open(servers.get("repository").url)


@pytest.fixture
def frontend(_window: Frontend) -> Iterator[Frontend]:
    """A window with the frontend of `server`: shared, and empty at the start of a test."""
    _window.evaluate("app.canvas.startRendering()")
    _window.clear()
    yield _window
    _window.evaluate("app.canvas.stopRendering()")  # which takes a tenth of a core without a GPU


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure in a test of a server comes with the server's log."""
    report = yield
    servers = getattr(item, "funcargs", {}).get("servers")
    if report.failed and servers is not None:
        for link, log in servers.logs().items():
            report.sections.append((f"log of the server with {link}", log))
    return report


@pytest.fixture(scope="session")
def workflow_files(core: process.Core, pack: process.Pack, tiny_models: Path) -> None:
    """The files that a workflow expects of its user are in the servers' models."""
    from host.demo_files import ensure_files

    assert "SkipstepDemoCheckpoint" in pack.node_ids
    ensure_files(tiny_models, core.call("SkipstepDemoCheckpoint", model="SDXL")[0])


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's: neither answers nor models of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def prompt_files(tiny_models: Path) -> Path:
    """A tiny language model and adapters are in the `models` folder of all ComfyUIs."""
    from host.prompt_files import ensure_prompt_files

    return ensure_prompt_files(tiny_models)


@pytest.fixture(scope="session")
def sampling(pack: process.Pack) -> Any:
    """The pack's `sampling` package."""
    return pack.module("comfy_nodes.sampling")


@pytest.fixture(scope="session")
def studio(core: process.Core, _loaded_sdxl: TinySDXL, _loaded_svd: TinySVD, comfy_controlnet: Any) -> Studio:
    """What scenes are made of; a scene patches clones."""
    from host.scenes import Studio

    return Studio(core=core, sdxl=_loaded_sdxl, svd=_loaded_svd, controlnet=comfy_controlnet)


@pytest.fixture(scope="session")
def plain(studio: Studio) -> Plain:
    """What a scene gives without a cache: `plain("freeu", "euler")`."""
    from host.scenes import SCENES

    def drawn(name: str, sampler_name: str) -> torch.Tensor:
        scene = SCENES[name](studio)
        return scene.drawing(studio.core, scene.tiny, sampler_name)

    return cache(drawn)
