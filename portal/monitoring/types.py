"""What a node reports about itself, and the frame that is made of all nodes each second."""

from typing import Literal, TypedDict, override
from uuid import UUID

import msgspec

type Health = Literal["up", "not_ready", "learning", "stale", "down"]
type Status = Literal["ok", "degraded", "down"]


class Ops(msgspec.Struct, frozen=True):
    """Counters since the node started."""

    total: int = 0
    reads: int = 0
    writes: int = 0
    errors: int = 0


class Latency(msgspec.Struct, frozen=True):
    """Latency over the last seconds, in milliseconds; None while nothing was served."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Calls(msgspec.Struct, frozen=True):
    """The replicated call counter that the gateways enforce."""

    used: int = 0
    limit: int | None = None
    resets: str | None = None


class Storage(msgspec.Struct, frozen=True):
    """The replicated storage figure that the gateways enforce."""

    used: int = 0
    limit: int | None = None


class NodeStats(msgspec.Struct, frozen=True):
    """The part of a node's /api/v1/stats that the portal shows; other members are ignored."""

    node_id: int
    sequence: int
    view: int = 0
    primary: int | None = None
    f: int = 0
    quorum: int = 1
    ready: bool = False
    role: str = "replica"
    version: str = ""
    uptime_s: float = 0.0
    documents: int = 0
    collections: int = 0
    ops: Ops = msgspec.field(default_factory=Ops)
    latency_ms: Latency = msgspec.field(default_factory=Latency)
    calls: Calls = msgspec.field(default_factory=Calls)
    storage: Storage = msgspec.field(default_factory=Storage)


class NodeAddress(msgspec.Struct, frozen=True):
    """Where a node answers HTTP."""

    index: int
    url: str
    is_learner: bool = False


class Target(msgspec.Struct, frozen=True):
    """A cluster that is to be watched; equal targets need no new watch."""

    schema: str
    cluster_id: UUID
    token: str
    nodes: tuple[NodeAddress, ...]

    @override
    def __repr__(self) -> str:
        """Name the cluster without its key."""
        return f"Target({self.schema}, {self.cluster_id}, {len(self.nodes)} nodes)"


class NodeFrame(TypedDict):
    """One node in a frame."""

    id: int
    health: Health
    role: str
    sequence: int | None
    lag: int | None
    version: str
    uptime_s: float | None


class Throughput(TypedDict):
    """Operations a second."""

    total: float
    reads: float
    writes: float
    errors: float


class LatencyFrame(TypedDict):
    """Milliseconds; None while nothing is served."""

    p50: float | None
    p95: float | None
    p99: float | None


class Meter(TypedDict):
    """A figure with the limit that is enforced for it."""

    used: int
    limit: int | None
    resets: str | None


class Frame(TypedDict):
    """What the page of a cluster gets each second."""

    type: Literal["metrics"]
    cluster: str
    at: str
    status: Status
    throughput: Throughput
    latency_ms: LatencyFrame
    sequence: int
    view: int
    primary: int | None
    f: int
    quorum: int
    ready_count: int
    member_count: int
    documents: int
    collections: int
    calls: Meter
    storage: Meter
    nodes: list[NodeFrame]
