"""Everything that an operator sets: by `SKIPSTEP_...` variables, or by options of `skipstep serve`."""

from __future__ import annotations

import hashlib
import ipaddress
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from skipstep.errors import OptionError

from .ray_serve.options import RayOptions
from .webhooks.signing import check_secret

Scope = Literal["jobs", "metrics", "admin"]
_OF_PROMPTS = ("prompt_model", "prompt_url", "prompt_adapters", "prompt_presets")


def settings_of(**given: Any) -> Settings:
    """The settings of the environment, with these in place of some.

    Raises:
        OptionError: if one is out of range or they contradict each other.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise OptionError(f"{place}: {message}" if place else message) from error


class ApiKey(BaseModel):
    """A key that clients send as `Authorization: Bearer ...`, by the SHA-256 of its text; jobs belong to its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = ("jobs",)

    @classmethod
    def of(cls, name: str, text: str, *, scopes: tuple[Scope, ...] = ("jobs",)) -> ApiKey:
        """The key with this text."""
        return cls(name=name, sha256=hashlib.sha256(text.encode()).hexdigest(), scopes=scopes)


class WarmShape(BaseModel):
    """A size that is made ready before the first job: all batch sizes of it are compiled, and run once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    width: int = Field(ge=8)
    height: int = Field(ge=8)
    frames: int | None = Field(None, ge=1)


class Settings(BaseSettings):
    """Of one server process."""

    model_config = SettingsConfigDict(
        env_prefix="SKIPSTEP_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    api_keys: tuple[ApiKey, ...] = ()
    models: dict[str, str] = Field(
        {"demo": "demo", "demo-sd15": "demo-sd15", "demo-svd": "demo-svd"},
        description="What load_model takes, by the names that clients use; the first is the usual one.",
    )
    loras: dict[str, str] = Field({}, description="Files of LoRAs by the names that clients use.")
    plans: str | None = Field(None, description="A folder of plan files (.json).")
    device: str = "auto"
    dtype: str = "auto"
    compiler: Literal["none", "inductor", "aot", "openvino", "oneflow", "onediff"] = "none"
    warm_shapes: tuple[WarmShape, ...] = Field(
        (), description="Sizes that are ready before the first job; with a compiler, others run without it."
    )
    compiled: str | None = Field(
        None, min_length=1, description="Where servers share what they compiled: a folder or an fsspec URL."
    )
    engine: Literal["skipstep", "dummy"] = "skipstep"
    dummy_step_s: float = Field(0.0, ge=0)
    store: str = "sqlite:///skipstep-jobs.db"
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    server_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Of one of several servers with one PostgreSQL."
    )
    lease_s: float = Field(30.0, gt=0, le=3600, description="After so long without a heartbeat others take its jobs.")
    heartbeat_s: float = Field(10.0, gt=0)
    poll_s: float = Field(1.0, gt=0, le=60, description="How often it looks for jobs that nobody has.")
    max_attempts: int = Field(3, ge=1, le=100, description="Of a job that a server's end interrupted.")
    results: str = "skipstep-results"
    result_ttl_s: float = Field(86400.0, gt=0, description="Jobs and files are deleted so long after their end.")
    results_max_bytes: int | None = Field(None, ge=1, description="Of all files; the oldest jobs are deleted beyond.")
    events_ttl_s: float = Field(300.0, ge=0, description="Events can be followed so long after the job's end.")
    events_max_bytes: int = Field(64 * 2**20, ge=0, description="About; of jobs that have ended.")
    max_queue: int = Field(64, ge=1)
    max_rows: int = Field(8, ge=1, le=256, description="Pictures that share a pass.")
    step_batching: bool = Field(True, description="Let jobs join a batch that runs, at its full passes.")
    max_models: int | None = Field(None, ge=1, description="Models that stay loaded; all, if not given.")
    max_pixel_steps: float = Field(
        2048 * 2048 * 150.0, gt=0, description="Of a job: width x height x frames x pictures x steps."
    )
    timeout_s: float = Field(600.0, gt=0, le=86400, description="Of jobs that name none.")
    drain_s: float = Field(25.0, ge=0, description="What runs may go on so long when the server ends.")
    a1111: bool = Field(False, description="Also answer as AUTOMATIC1111's web UI does, under /sdapi/v1.")
    webhook_secret: SecretStr | None = Field(None, description="Turns webhooks on: whsec_ and base64, that signs them.")
    webhook_allow: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Private networks that webhooks may go to, without TLS, too."
    )
    webhook_retries_s: tuple[Annotated[float, Field(ge=0, le=86400)], ...] = Field(
        (5, 30, 120, 600, 3600, 10800, 21600),
        max_length=20,
        description="Waits between tries; given up after the last.",
    )
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, description="Of one try.")
    max_body_bytes: int = Field(24 * 2**20, ge=1024)
    prompt_engine: Literal["none", "gguf", "hf", "openai", "echo"] = Field(
        "none", description="What expands prompts and answers chats; none has no such routes."
    )
    prompt_model: str | None = Field(None, description="A GGUF file, a transformers folder, or a name on prompt_url.")
    prompt_url: str | None = Field(None, description="An OpenAI-compatible server, for the engine openai.")
    prompt_device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    prompt_adapters: str | None = Field(None, description="A folder of adapter folders, for the engines gguf and hf.")
    prompt_presets: str | None = Field(None, description="A folder of presets (.toml) beside the shipped ones.")
    prompt_max_queue: int = Field(16, ge=1, le=1000, description="Questions that wait, without those of jobs.")
    prompt_timeout_s: float = Field(60.0, ge=0.1, le=3600, description="Of one answer.")
    prompt_idle_s: float = Field(
        0.0, ge=0, le=86400, description="The model is unloaded after so long without a question."
    )
    ray: RayOptions = Field(RayOptions(), description="Of `skipstep serve --ray`.")

    @field_validator("models")
    @classmethod
    def _has_a_model(cls, models: dict[str, str]) -> dict[str, str]:
        if not models:
            raise ValueError("name at least one model")
        return models

    @model_validator(mode="after")
    def _check_warm_shapes(self) -> Settings:
        for shape in self.warm_shapes:
            if shape.model not in self.models:
                raise OptionError(f"warm_shapes names {shape.model!r}; models are {', '.join(self.models)}")
        return self

    @model_validator(mode="after")
    def _check_lease(self) -> Settings:
        if self.lease_s < 2 * self.heartbeat_s:
            least = 2 * self.heartbeat_s
            raise OptionError(f"lease_s must be {least:g} (twice heartbeat_s) or more, got {self.lease_s:g}")
        return self

    @field_validator("webhook_secret")
    @classmethod
    def _is_signing_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            check_secret(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _check_webhooks(self) -> Settings:
        if self.webhook_allow and self.webhook_secret is None:
            raise OptionError("SKIPSTEP_WEBHOOK_ALLOW is set, but webhooks are off; set SKIPSTEP_WEBHOOK_SECRET, too")
        return self

    @model_validator(mode="after")
    def _check_prompt_model(self) -> Settings:
        named = [name for name in _OF_PROMPTS if getattr(self, name) is not None]
        if named and self.prompt_engine == "none":
            raise OptionError(f"{named[0]} is set, but there is no prompt model; set SKIPSTEP_PROMPT_ENGINE, too")
        if self.prompt_adapters is not None and self.prompt_engine in ("openai", "echo"):
            raise OptionError(
                f"prompt_adapters is set, but the engine {self.prompt_engine} takes no adapters; use gguf or hf"
            )
        return self

    @model_validator(mode="after")
    def _check_open_door(self) -> Settings:
        if not self.api_keys and not is_loopback(self.host):
            raise OptionError(
                f"host {self.host} can be reached from other machines, and no API key is set; set SKIPSTEP_API_KEYS "
                "(`skipstep serve --new-key NAME` makes one), or use host 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
