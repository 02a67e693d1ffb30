"""Ray Serve's extension point for routing, with our placing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from .placing import FACTOR, places


class BatchKeyRouter(RequestRouter):
    """Routes `run(job_id, key)` by its key. Jobs that find all replicas full wait, in the order in which they came.

    `factor` is that of `placing.places`, in `RequestRouterConfig.request_router_kwargs`.
    """

    def initialize_state(self, *, factor: float = FACTOR) -> None:
        """Called once by Serve."""
        self._factor = factor
        self._sent: Counter[str] = Counter()  # by this router, and not ended

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replicas to try, one after the other."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # before they are all tried again
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        model = pending_request.metadata.multiplexed_model_id
        chosen = places(
            _key(pending_request),
            {name: self._load(name, replica) for name, replica in by_name.items()},
            having_model=[name for name, replica in by_name.items() if model in replica.multiplexed_model_ids],
            factor=self._factor,
        )
        return [[by_name[name]] for name in chosen]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Count it."""
        self._sent[replica_id.unique_id] += 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Count it no more."""
        self._sent[replica_id.unique_id] -= 1

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Forget it."""
        super().on_replica_actor_died(replica_id)
        self._sent.pop(replica_id.unique_id, None)

    def _load(self, name: str, replica: RunningReplica) -> int:
        """Its jobs: what it said of late, which has other routers' jobs, too, and no less than what was sent to it."""
        return max(self._sent[name], self.replica_queue_len_cache.get(replica.replica_id) or 0)


def _key(pending: PendingRequest) -> str:
    return str(pending.kwargs.get("key") or pending.metadata.internal_request_id)
