"""What a server does because others share its store: it keeps its leases, takes over others', and tells and follows
events through the database."""

from __future__ import annotations
