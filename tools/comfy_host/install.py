"""Installing a host: every step is done once, and a killed installation continues where it was."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from . import packages, pins
from .errors import InstallError
from .folder import REPOSITORY, HostFolder
from .stamps import digest, once
from .torch_wheels import DECLARE_OPERATORS, drop_cuda_parts
from .trees import fetch_tree


def install_host(host: HostFolder) -> None:
    """Everything in `pins`, and the skipstep package of this repository.

    Raises:
        HostUnavailableError: if something could not be fetched.
        InstallError: if a step failed otherwise.
    """
    host.root.mkdir(parents=True, exist_ok=True)
    with _alone(host.root / "lock"):
        _install_environment(host)
        _install_skipstep(host)
        for source in pins.SOURCES:
            _install_tree(host, source)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two installations into one folder wait for each other; the lock of a killed one is free."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install_environment(host: HostFolder) -> None:
    """The stamps of these steps lie in the environment: they go with it, and each implies those before."""
    packages.forget_half_installed(host.packages)
    stamps = host.venv / "stamps"
    made_of = digest(sys.version_info[:3], sys.base_prefix)
    once(stamps / "venv", made_of, lambda: _make_venv(host), say="virtual environment")

    made_of = digest(made_of, pins.TORCH)
    once(stamps / "torch", made_of, lambda: packages.install(host.python, pins.TORCH, what=pins.TORCH), say=pins.TORCH)

    made_of = digest(made_of, pins.TORCH_COMPANIONS, DECLARE_OPERATORS)
    once(stamps / "companions", made_of, lambda: _install_companions(host), say=" ".join(pins.TORCH_COMPANIONS))

    made_of = digest(made_of, pins.KITCHEN, pins.KITCHEN_SHA256)
    once(stamps / "kitchen", made_of, lambda: _install_kitchen(host), say=pins.KITCHEN)

    needs = (*pins.COMFYUI_NEEDS, *pins.SKIPSTEP_NEEDS, *pins.TESTS_NEED)
    listed = "the packages that ComfyUI, skipstep and the tests need"
    made_of = digest(made_of, needs)
    once(stamps / "needs", made_of, lambda: packages.install(host.python, *needs, what=listed), say=listed)


def _make_venv(host: HostFolder) -> None:
    line = [sys.executable, "-m", "venv", "--clear", str(host.venv)]
    done = subprocess.run(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise InstallError(f"could not make a virtual environment in {host.venv}:\n{done.stdout}")


def _install_companions(host: HostFolder) -> None:
    # reinstalled, because a second patch of the same files would be one too many
    options = ("--no-deps", "--force-reinstall")
    packages.install(host.python, *options, *pins.TORCH_COMPANIONS, what=" and ".join(pins.TORCH_COMPANIONS))
    drop_cuda_parts(host.packages)


def _install_kitchen(host: HostFolder) -> None:
    into = host.root / "downloads" / "kitchen"
    shutil.rmtree(into, ignore_errors=True)
    options = ("--platform", "any", "--only-binary", ":all:")
    packages.download(host.python, pins.KITCHEN, sha256=pins.KITCHEN_SHA256, into=into, options=options)
    wheel = next(into.glob("comfy_kitchen-*.whl"))
    packages.install(host.python, "--no-deps", str(wheel), what=pins.KITCHEN)
    shutil.rmtree(into)


def _install_skipstep(host: HostFolder) -> None:
    made_of = digest(str(REPOSITORY), (REPOSITORY / "pyproject.toml").read_text())
    options = ("--no-deps", "--editable", str(REPOSITORY))
    stamp = host.venv / "stamps" / "skipstep"
    once(stamp, made_of, lambda: packages.install(host.python, *options, what="skipstep"), say="skipstep")


def _install_tree(host: HostFolder, source: pins.Source) -> None:
    def fetch() -> None:
        work = host.root / "downloads" / source.version
        fetch_tree(host.python, source, target=host.tree(source.version), work=work)

    # the stamp lies in the tree, and goes with it
    stamp = host.tree(source.version) / "skipstep.stamp"
    once(stamp, digest(source), fetch, say=f"ComfyUI {source.version} from {source.requirement}")
