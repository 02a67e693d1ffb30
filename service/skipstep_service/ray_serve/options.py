"""What an operator sets of a cluster: `SKIPSTEP_RAY__...`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from skipstep.errors import OptionError

from .placing import FACTOR


class RayOptions(BaseModel):
    """Of the replicas; a GPU may be shared by several (`gpus` 0.5), or a replica may have one for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(1, ge=1, description="Engine replicas that are always there.")
    max_replicas: int = Field(1, ge=1, description="Engine replicas at most.")
    gpus: float | None = Field(None, ge=0, description="Of a replica; 1 where the head has a GPU, else 0.")
    cpus: float = Field(1.0, ge=0, description="Of a replica, as Ray counts them.")
    target_ongoing: float = Field(1.0, gt=0, description="Jobs a replica beyond which more replicas are started.")
    max_ongoing: int | None = Field(None, ge=1, description="Jobs that a replica has at most; twice max_rows.")
    factor: float = Field(FACTOR, ge=1, description="Of the average load, beyond which a job goes to another replica.")
    upscale_delay_s: float = Field(10.0, ge=0)
    downscale_delay_s: float = Field(300.0, ge=0)
    ingress_replicas: int = Field(1, ge=1, description="HTTP replicas.")
    ingress_cpus: float = Field(1.0, ge=0)
    start_timeout_s: float = Field(600.0, gt=0, description="Until the models are loaded and sizes are ready.")
    head: str = Field("127.0.0.1", description="The address of this machine at which other nodes join.")
    port: int = Field(6379, ge=1, le=65535, description="At which they join.")

    @model_validator(mode="after")
    def _check_range(self) -> RayOptions:
        if self.max_replicas < self.min_replicas:
            raise OptionError(
                f"max_replicas must be {self.min_replicas} (min_replicas) or more, got {self.max_replicas}"
            )
        return self

    def most(self, max_rows: int) -> int:
        """Jobs that a replica takes: a batch, and another that waits."""
        return 2 * max_rows if self.max_ongoing is None else self.max_ongoing
