"""The application as Ray Serve deploys it."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from ..settings import Settings, settings_of
from .ingress import ENGINE, build_app
from .replica import EngineReplica
from .sameness import check_shareable, prints_of

INGRESS = "Ingress"
_ROUTER = "skipstep_service.ray_serve.router.BatchKeyRouter"
_HTTP_ONGOING = 1000  # requests of an ingress replica, of which most wait for events
_HEALTH_S, _HEALTH_TIMEOUT_S = 5.0, 30.0


def application(settings: Settings) -> serve.Application:
    """Ingress and engine replicas, as the settings ask for them.

    Raises:
        OptionError: if the store is not one that several servers can share.
    """
    check_shareable(settings)
    options = settings.ray
    engine = serve.deployment(
        name=ENGINE,
        autoscaling_config=AutoscalingConfig(
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            target_ongoing_requests=options.target_ongoing,
            upscale_delay_s=options.upscale_delay_s,
            downscale_delay_s=options.downscale_delay_s,
            metrics_interval_s=1.0,
            look_back_period_s=5.0,
        ),
        max_ongoing_requests=options.most(settings.max_rows),
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": gpus_of(settings)},
        request_router_config=RequestRouterConfig(
            request_router_class=_ROUTER, request_router_kwargs={"factor": options.factor}
        ),
        graceful_shutdown_timeout_s=settings.drain_s,
        health_check_period_s=_HEALTH_S,
        health_check_timeout_s=_HEALTH_TIMEOUT_S,
    )(EngineReplica)
    ingress = serve.deployment(
        name=INGRESS,
        num_replicas=options.ingress_replicas,
        max_ongoing_requests=_HTTP_ONGOING,
        ray_actor_options={"num_cpus": options.ingress_cpus},
        graceful_shutdown_timeout_s=settings.drain_s,
        health_check_period_s=_HEALTH_S,
        health_check_timeout_s=_HEALTH_TIMEOUT_S,
    )(serve.ingress(build_app)())
    return ingress.bind(engine.bind(prints_of(settings)))


def build(_: dict[str, Any]) -> serve.Application:
    """The same with the settings of the environment, for a Serve config's `import_path`, as KubeRay's."""
    return application(settings_of())


def gpus_of(settings: Settings) -> float:
    """GPUs of an engine replica."""
    if settings.ray.gpus is not None:
        return settings.ray.gpus
    if settings.device not in ("auto", "cuda") or settings.engine == "dummy":
        return 0.0
    return 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
