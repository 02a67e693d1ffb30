"""The service on a Ray cluster: HTTP on some replicas, engines on others, jobs in one PostgreSQL database.

Ray Serve (docs.ray.io) starts, watches and scales the replicas and routes between them. What makes jobs durable is
ours: rows with leases in the store, which outlive replicas, nodes and the cluster.
"""

from __future__ import annotations
