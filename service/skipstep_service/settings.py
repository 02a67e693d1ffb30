"""Everything that an operator sets: by `SKIPSTEP_...` variables, or by options of `skipstep serve`."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from skipstep.errors import OptionError

Scope = Literal["jobs", "metrics"]


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


class Settings(BaseSettings):
    """Of one server process."""

    model_config = SettingsConfigDict(env_prefix="SKIPSTEP_", env_nested_delimiter="__", extra="forbid", frozen=True)

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
    compiler: Literal["none", "inductor", "aot", "openvino", "onediff"] = "none"
    engine: Literal["skipstep", "dummy"] = "skipstep"
    dummy_step_s: float = Field(0.0, ge=0)
    store: str = "sqlite:///skipstep-jobs.db"
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    results: str = "skipstep-results"
    result_ttl_s: float = Field(86400.0, gt=0, description="Jobs and files are deleted so long after their end.")
    results_max_bytes: int | None = Field(None, ge=1, description="Of all files; the oldest jobs are deleted beyond.")
    max_queue: int = Field(64, ge=1)
    max_rows: int = Field(8, ge=1, le=256, description="Pictures that share a pass.")
    step_batching: bool = Field(True, description="Let jobs join a batch that runs, at its full passes.")
    max_pixel_steps: float = Field(
        2048 * 2048 * 150.0, gt=0, description="Of a job: width x height x frames x pictures x steps."
    )
    timeout_s: float = Field(600.0, gt=0, le=86400, description="Of jobs that name none.")
    drain_s: float = Field(25.0, ge=0, description="What runs may go on so long when the server ends.")
    a1111: bool = Field(False, description="Also answer as AUTOMATIC1111's web UI does, under /sdapi/v1.")
    max_body_bytes: int = Field(24 * 2**20, ge=1024)

    @field_validator("models")
    @classmethod
    def _has_a_model(cls, models: dict[str, str]) -> dict[str, str]:
        if not models:
            raise ValueError("name at least one model")
        return models

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
