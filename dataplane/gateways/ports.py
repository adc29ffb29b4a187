"""What a gateway needs of the node it runs in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dataplane.client.spec import Algorithm
from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.state import Archive
from dataplane.documents.checkpoint_views import CheckpointViews
from dataplane.documents.view import StateView
from dataplane.replication.notices import Notices
from dataplane.replication.polls import Agreed
from dataplane.replication.quorum_watch import QuorumWatch
from dataplane.replication.status import NodeStatus
from dataplane.replication.strong_reads import Confirmed
from dataplane.replication.submissions import Submitted
from dataplane.storage.evidence import StoredEvidence
from dataplane.wire.proofs import Certificate, EpochChange


class Cluster(Protocol):
    """Ordering of operations, and the state of this node; the replication driver is one."""

    async def submit(self, ops: Sequence[bytes], *, timeout_ms: int) -> Submitted:
        """Order operations and return their agreed results."""
        ...

    def require_room(self, timeout_ms: int) -> None:
        """Refuse what would wait in vain behind what waits already."""
        ...

    @property
    def executed(self) -> int:
        """The last executed sequence."""
        ...

    @property
    def decided(self) -> Archive:
        """The newest decided batches, with their proofs."""
        ...

    @property
    def view(self) -> int:
        """The current view."""
        ...

    @property
    def config(self) -> ReplicaConfig:
        """The present epoch, as the core works with it."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a linearizable request can be served."""
        ...

    @property
    def epoch_changes(self) -> tuple[EpochChange, ...]:
        """Proof of who follows whom, from epoch 0 on."""
        ...

    @property
    def is_sound(self) -> bool:
        """Whether this node's own state may be read."""
        ...

    @property
    def watch(self) -> QuorumWatch:
        """Whether this node reaches a quorum."""
        ...

    def status(self) -> NodeStatus:
        """What this node knows of the cluster."""
        ...

    @property
    def accountability(self) -> "Evidence":
        """What this node keeps of proofs that others lied."""
        ...

    @property
    def notices(self) -> Notices:
        """What this node refused, and its alarms."""
        ...


class Evidence(Protocol):
    """Proofs in the order in which the node got them; none is ever taken away."""

    @property
    def records(self) -> Sequence[StoredEvidence]:
        """All of them."""
        ...


class Reads(Protocol):
    """Reads that other nodes take part in; `replication.reads.Reads` is one."""

    @property
    def views(self) -> CheckpointViews:
        """The state at the last stable checkpoints."""
        ...

    @property
    def roots(self) -> Mapping[int, bytes]:
        """The roots of this node's own state at its last checkpoints."""
        ...

    async def strong(self, place: tuple[str, str] | None) -> Confirmed | None:
        """Return the newest state of a document, None when the read must be ordered."""
        ...

    async def bounded(
        self, collection: str, document_id: str, *, after: int, timeout_ms: int
    ) -> Agreed:
        """Return a state of a document that enough replicas agree on."""
        ...

    async def seal[C](self, capture: Callable[[], C], *, timeout_ms: int) -> tuple[Certificate, C]:
        """Have the state sealed; return the certificate and what was captured there."""
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


class Encryption(Protocol):
    """The keys under which this node writes."""

    def describe(self) -> dict[str, object]:
        """Return what is known of them; no key is in it."""
        ...

    async def rotate(self, algorithm: Algorithm | None) -> None:
        """Begin to use a new key, and to seal everything anew with it."""
        ...
