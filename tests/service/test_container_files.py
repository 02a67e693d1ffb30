"""The container files, by linters and against what they name: nothing is built here."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from skipstep_service.ray_serve.options import RayOptions
from skipstep_service.settings import ApiKey, Settings, settings_of

from skipstep.errors import OptionError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE_FILES = ("compose.yaml", "compose.gpu.yaml", "compose.ray.yaml")
KUBERAY = next(yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text()))
BIN = Path(sys.executable).parent
NAME = re.compile(r"\bSKIPSTEP_[A-Z0-9_]+")


def compose_file(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return loaded


def complaints(*line: str) -> str:
    """What a linter finds."""
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.skipif(not (BIN / "hadolint").exists(), reason="there is no hadolint for this system")
def test_the_dockerfile_has_no_lint(tmp_path: Path) -> None:
    lint = (str(BIN / "hadolint"), "--no-color")
    assert complaints(*lint, str(DEPLOY / "Dockerfile")) == ""
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace("USER 10001", "USER root"))
    assert "DL3002" in complaints(*lint, str(worse))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_files_follow_the_specification(name: str, tmp_path: Path) -> None:
    lint = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    assert complaints(*lint, str(DEPLOY / name)) == ""
    worse = tmp_path / name
    worse.write_text((DEPLOY / name).read_text().replace("services:", "pictures:"))
    assert "pictures" in complaints(*lint, str(worse))


def test_variables_are_settings() -> None:
    known = {f"SKIPSTEP_{field.upper()}" for field in Settings.model_fields}
    known |= {f"SKIPSTEP_RAY__{field.upper()}" for field in RayOptions.model_fields}
    others = ("Dockerfile", ".env.example", "kuberay.yaml")
    for path in (DEPLOY / name for name in (*COMPOSE_FILES, *others)):
        named = set(NAME.findall(path.read_text()))
        assert named <= known, path.name
    assert {"SKIPSTEP_HOST", "SKIPSTEP_STORE", "SKIPSTEP_RESULTS"} <= set(NAME.findall(DOCKERFILE))


def test_extras_exist() -> None:
    usual = re.search(r"ARG EXTRAS=(\S+)", DOCKERFILE)
    assert usual is not None
    assert 'pip install ".[$EXTRAS]"' in DOCKERFILE
    known = set(metadata("skipstep").get_all("Provides-Extra") or ())
    assert set(usual[1].split(",")) == {"service", "postgresql", "lora"} <= known
    of_ray = compose_file("compose.ray.yaml")["services"]["skipstep"]["build"]["args"]["EXTRAS"]
    assert set(of_ray.split(",")) == {"service", "postgresql", "lora", "ray"} <= known


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M) for name in line.split()[:-1]]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_starts_with_a_key_and_not_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"\b(SKIPSTEP_[A-Z_]+)=(\S+)", DOCKERFILE):
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match="no API key is set"):
        settings_of()
    monkeypatch.setenv("SKIPSTEP_API_KEYS", f"[{ApiKey.of('me', 'secret').model_dump_json()}]")
    settings = settings_of()
    assert (settings.host, settings.results) == ("0.0.0.0", "/data/results")
    assert sa.make_url(settings.store).database == "/data/jobs.db"
    assert f"EXPOSE {settings.port}" in DOCKERFILE


def test_the_service_of_compose() -> None:
    services = compose_file("compose.yaml")["services"]
    ours, postgres = services["skipstep"], services["postgres"]
    url = sa.make_url(ours["environment"]["SKIPSTEP_STORE"])
    assert url.get_backend_name() == "postgresql"
    assert url.host in services
    made = postgres["environment"]
    assert (url.username, url.database, url.password) == (made["POSTGRES_USER"], made["POSTGRES_DB"], None)
    assert ours["environment"]["PGPASSWORD"] == made["POSTGRES_PASSWORD"]
    assert float(ours["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_s"].default + 5
    assert set(compose_file("compose.gpu.yaml")["services"]) <= set(services)


def test_a_worker_of_compose_has_the_settings_of_the_head() -> None:
    ours, ray = (compose_file(name)["services"] for name in ("compose.yaml", "compose.ray.yaml"))
    head = {**ours["skipstep"]["environment"], **ray["skipstep"]["environment"]}
    del head["SKIPSTEP_SERVER_ID"]  # of a server that is alone
    assert ray["worker"]["environment"] == head
    assert ray["worker"]["image"] == ray["skipstep"]["image"]
    port = RayOptions.model_fields["port"].default
    assert f"--address={head['SKIPSTEP_RAY__HEAD']}:{port}" in ray["worker"]["entrypoint"]
    assert head["SKIPSTEP_RAY__HEAD"] in ours
    assert "RAY_AUTH_TOKEN" in head


def test_the_application_of_kuberay_is_there() -> None:
    config = yaml.safe_load(KUBERAY["spec"]["serveConfigV2"])
    schema = pytest.importorskip("ray.serve.schema")
    applications = schema.ServeDeploySchema.model_validate(config).applications
    module, _, name = applications[0].import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    with pytest.raises(ValueError, match="import"):
        schema.ServeDeploySchema.model_validate({"applications": [{"name": "skipstep", "import_path": "nowhere"}]})


def test_pods_of_kuberay_have_the_same_settings() -> None:
    cluster = KUBERAY["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [group["template"]["spec"]["containers"][0] for group in groups]
    for name in ("image", "env", "envFrom", "volumeMounts"):
        assert all(container[name] == containers[0][name] for container in containers)
    named = {one["name"] for one in containers[0]["env"]}
    options = {one["name"]: one["value"] for one in containers[0]["env"]}
    assert {"SKIPSTEP_HOST", "SKIPSTEP_MODELS"} <= named
    gpu = next(group for group in cluster["workerGroupSpecs"] if group["groupName"] == "gpu")
    limits = gpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == int(options["SKIPSTEP_RAY__GPUS"])
    assert int(limits["cpu"]) >= int(options["SKIPSTEP_RAY__CPUS"])
    assert gpu["maxReplicas"] >= int(options["SKIPSTEP_RAY__MAX_REPLICAS"])
    grace = gpu["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > Settings.model_fields["drain_s"].default + 5
