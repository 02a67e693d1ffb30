"""The tool that makes an environment for OneFlow: which Python it takes, and stand-ins that load."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oneflow_env import __main__ as command
from oneflow_env import install as installing
from oneflow_env import python310
from oneflow_env.install import install
from oneflow_env.python310 import NotPossibleError, find_python
from oneflow_env.stand_ins import make_stand_ins, missing_libraries

linux = pytest.mark.skipif(sys.platform != "linux", reason="OneFlow is for Linux")
tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("gcc", "nm", "readelf", "ldd")), reason="needs gcc and binutils"
)


def python(folder: Path, prints: str, name: str = "python") -> Path:
    """A program that answers like an interpreter of some version."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / name
    made.write_text(f"#!/bin/sh\necho {prints}\n" if prints else "#!/bin/sh\nexit 127\n")
    made.chmod(0o755)
    return made


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(python310.platform, "system", lambda: "Linux")
    monkeypatch.setattr(python310.platform, "machine", lambda: "x86_64")


@pytest.fixture
def _path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
        yield


def test_the_python_on_the_path_is_taken(tmp_path: Path) -> None:
    found = python(tmp_path / "bin", "3 10", "python3.10")
    assert find_python(None) == str(found)


def test_pyenvs_is_taken_where_its_shim_does_not_start(tmp_path: Path) -> None:
    python(tmp_path / "bin", "", "python3.10")
    python(tmp_path / "pyenv" / "versions" / "3.11.7" / "bin", "3 11")
    found = python(tmp_path / "pyenv" / "versions" / "3.10.13" / "bin", "3 10")
    assert find_python(None) == str(found)


def test_without_one_it_says_how_to_get_one(tmp_path: Path) -> None:
    python(tmp_path / "bin", "3 11", "python3.11")
    with pytest.raises(NotPossibleError, match=r"no Python 3.10 here.*pyenv install 3.10.*--python"):
        find_python(None)


@pytest.mark.parametrize(("prints", "told"), [("3 11", "is Python 3.11"), ("", "does not start")])
def test_another_python_than_3_10_is_refused(tmp_path: Path, prints: str, told: str) -> None:
    asked = str(python(tmp_path / "mine", prints))
    with pytest.raises(
        NotPossibleError, match=f"--python .* {told}; OneFlow 0.9.0 has its last wheels for Python 3.10"
    ):
        find_python(asked)


def test_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python310.platform, "machine", lambda: "arm64")
    with pytest.raises(NotPossibleError, match="for Linux on x86_64, this is Linux arm64"):
        find_python(None)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(NotPossibleError, match="is not empty and no environment; name another folder"):
        install(tmp_path / "mine", python="python", onediff=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.usefixtures("_path")
def test_a_step_that_fails_says_what_it_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'No module named ensurepip' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(NotPossibleError, match="virtual environment could not be made:\nNo module named ensurepip"):
        install(tmp_path / "new", python=str(broken), onediff=False)


def test_the_command_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python(tmp_path / "bin", "3 10", "python3.10")
    done: list[tuple[Path, bool]] = []
    monkeypatch.setattr(command, "install", lambda folder, **asked: done.append((folder, asked["onediff"])))
    monkeypatch.setattr(command, "probe", lambda _: {"python": "3.10.13", "oneflow": "0.9.0"})
    monkeypatch.setattr(sys, "argv", ["oneflow_env", str(tmp_path / "env"), "--onediff"])
    assert command.main() == 0
    assert done == [(tmp_path / "env", True)]
    assert f"export SKIPSTEP_ONEFLOW_PYTHON={tmp_path}/env/bin/python" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["oneflow_env", str(tmp_path / "env"), "--python", "nowhere"])
    assert command.main() == 1
    assert "oneflow_env: --python nowhere does not start" in capsys.readouterr().err


def test_the_worker_looks_where_the_tool_puts_stand_ins() -> None:
    from skipstep.compile.flow_worker import START
    from skipstep.compile.flow_worker.versions import STAND_INS
    from skipstep.compile.oneflow import VARIABLE

    assert installing._STAND_INS == STAND_INS
    assert installing._START.samefile(START)
    assert command.VARIABLE == VARIABLE


CUBLAS = "int cublasCreate_v2(void) { return 0; } int cublasGetVersion_v2(void) { return 11; }"
VERSIONS = "libcublas.so.11 { global: cublasCreate_v2; cublasGetVersion_v2; };"
RUNTIME = "int cudaGetDeviceCount(int* count) { *count = 4; return 0; }"
USER = """
int cublasCreate_v2(void); int cublasGetVersion_v2(void); int cudaGetDeviceCount(int*);
int ready(void) { return 42; }
int version(void) { return cublasGetVersion_v2(); }
int devices(void) { int count = 9; int code = cudaGetDeviceCount(&count); return code * 10 + count; }
int create(void) { return cublasCreate_v2(); }
"""


def built(folder: Path, name: str, code: str, *options: str) -> Path:
    source = folder / f"{name}.c"
    source.write_text(code)
    line = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", str(source), "-o", str(folder / name), *options]
    subprocess.run(line, check=True)
    return folder / name


@linux
@tools
@pytest.mark.usefixtures("_path")
def test_a_library_loads_with_stand_ins_for_those_that_are_missing(tmp_path: Path) -> None:
    cuda, package = tmp_path / "cuda", tmp_path / "package"
    cuda.mkdir()
    package.mkdir()
    (cuda / "versions").write_text(VERSIONS)
    blas = built(cuda, "libcublas.so.11", CUBLAS, f"-Wl,--version-script={cuda / 'versions'}")
    runtime = built(cuda, "libcudart.so.11.0", RUNTIME)
    user = built(package, "libuser.so", USER, str(blas), str(runtime))
    shutil.rmtree(cuda)
    with pytest.raises(OSError, match="cannot open shared object file"):
        ctypes.CDLL(str(user))
    missing = missing_libraries([[user], []])
    assert {one.name: dict(one.functions) for one in missing} == {
        "libcublas.so.11": {"libcublas.so.11": {"cublasCreate_v2", "cublasGetVersion_v2"}},
        "libcudart.so.11.0": {None: {"cudaGetDeviceCount"}},
    }
    made = make_stand_ins(missing, tmp_path / "stand-ins")
    assert sorted(path.name for path in (tmp_path / "stand-ins").iterdir()) == ["libcublas.so.11", "libcudart.so.11.0"]
    code = (
        f"import ctypes\nfor one in {[str(path) for path in made]}: ctypes.CDLL(one, mode=ctypes.RTLD_GLOBAL)\n"
        f"user = ctypes.CDLL({str(user)!r})\n"
        "print(user.ready(), user.version(), user.devices(), flush=True)\nuser.create()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["42", "1", "1000"]  # an error of 100, no devices
    assert done.returncode == -6
    assert "libcublas.so.11 is a stand-in: cublasCreate_v2 was called" in done.stderr


def test_without_a_compiler_it_says_what_is_missing() -> None:
    with pytest.raises(NotPossibleError, match="need gcc, nm, readelf, ldd: install gcc and binutils"):
        missing_libraries([[]])
