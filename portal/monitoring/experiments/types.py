"""What is read of nodes while some are broken, and what is watched."""

from uuid import UUID

import msgspec

from portal.monitoring.types import Latency, NodeAddress


class Checkpoint(msgspec.Struct, frozen=True):
    """A node's own root at a checkpoint."""

    sequence: int
    root: str


class Peer(msgspec.Struct, frozen=True):
    """A member as a node sees it."""

    id: int
    reachable: bool = True
    evidence: int = 0


class NodeStanding(msgspec.Struct, frozen=True):
    """The part of a node's /nodes/status that is watched."""

    view: int
    primary: int
    sequence: int
    diverged: bool = False
    copying: int | None = None
    nodes: tuple[Peer, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """Something that a node refused."""

    number: int
    at_ms: int
    sender: int
    kind: str
    reason: str
    count: int = 1


class Counted(msgspec.Struct, frozen=True):
    """How often a node refused one kind of message of one sender for one reason."""

    sender: int
    kind: str
    reason: str
    count: int


class NodeRejections(msgspec.Struct, frozen=True):
    """A node's answer about what it refused."""

    node_id: int
    newest: int
    results: tuple[Rejected, ...] = ()
    counts: tuple[Counted, ...] = ()
    alarms: dict[str, int] = {}


class NodeFigures(msgspec.Struct, frozen=True):
    """The part of a node's /stats that is watched."""

    node_id: int
    ready: bool = False
    latency_ms: Latency = Latency()


class Seen(msgspec.Struct, frozen=True):
    """What one node answered within a second."""

    standing: NodeStanding
    rejections: NodeRejections
    figures: NodeFigures


class ExperimentTarget(msgspec.Struct, frozen=True):
    """An experiment that is to be watched."""

    schema: str
    cluster_id: UUID
    experiment_id: UUID
    token: str
    nodes: tuple[NodeAddress, ...]
    broken: dict[int, str]

    @property
    def honest(self) -> tuple[NodeAddress, ...]:
        """The nodes that are not broken."""
        return tuple(node for node in self.nodes if node.index not in self.broken)
