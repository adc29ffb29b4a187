"""What a gateway needs of the node it runs in."""

from collections.abc import Sequence
from typing import Protocol

from dataplane.documents.view import StateView
from dataplane.replication.status import NodeStatus
from dataplane.replication.submissions import Submitted


class Cluster(Protocol):
    """Ordering of operations, and the state of this node; the replication driver is one."""

    async def submit(self, ops: Sequence[bytes], *, timeout_ms: int) -> Submitted:
        """Order operations and return their agreed results."""
        ...

    @property
    def executed(self) -> int:
        """The last executed sequence."""
        ...

    @property
    def view(self) -> int:
        """The current view."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a linearizable request can be served."""
        ...

    def status(self) -> NodeStatus:
        """What this node knows of the cluster."""
        ...


class Figures(Protocol):
    """The node's own measurements."""

    def observe(self, call_class: str, status: int, seconds: float) -> None:
        """Count a finished call."""
        ...

    def live(self) -> dict[str, object]:
        """Return the figures of `/stats`: uptime_s, version, ops, latency_ms."""
        ...

    def prometheus(self) -> str:
        """Return the metrics page."""
        ...


class State(Protocol):
    """Access to the executed state."""

    @property
    def view(self) -> StateView:
        """Reads between two batches."""
        ...
