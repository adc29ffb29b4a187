"""Where a node stands, as it tells clients and the portal."""

from collections.abc import Callable

from dataplane.consensus.replica import Replica
from dataplane.documents.types import Configuration
from dataplane.replication.configuration import member_spec
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.quorum_watch import QuorumWatch
from dataplane.replication.status import MemberStatus, NodeStatus
from dataplane.wire.quorum import faults_tolerated, quorum_size


class Standing:
    """Reads a node's replica, links and counters; changes nothing."""

    def __init__(
        self,
        node_id: int,
        *,
        replica: Callable[[], Replica],
        configuration: Callable[[], Configuration],
        reachable: Callable[[int], bool],
        metrics: ReplicationMetrics,
        accused: Callable[[], dict[int, int]],
    ) -> None:
        self._node_id = node_id
        self._replica = replica
        self._configuration = configuration
        self._reachable = reachable
        self._metrics = metrics
        self.watch = QuorumWatch(node_id, self._member_ids, self.reaches, metrics)
        self._accused = accused

    def reaches(self, replica_id: int) -> bool:
        """Whether the node has a link to a replica, or is it."""
        return replica_id == self._node_id or self._reachable(replica_id)

    def _member_ids(self) -> tuple[int, ...]:
        return tuple(member.id for member in self._configuration().members)

    @property
    def is_member(self) -> bool:
        """Whether the node is a member of the epoch."""
        return any(member.id == self._node_id for member in self._configuration().members)

    @property
    def reaches_quorum(self) -> bool:
        """Whether the node reaches a quorum and the primary of an active view."""
        members = self._configuration().members
        replica = self._replica()
        reached = sum(1 for member in members if self.reaches(member.id)) - replica.amnesia
        is_led = replica.active and self.reaches(replica.primary)
        return self.is_member and is_led and reached >= quorum_size(len(members))

    def heads(self) -> dict[int, int]:
        """Return the newest sequence that each replica is known, or says, to have executed."""
        replica = self._replica()
        heads = {peer: status.executed for peer, status in replica.peers.items()}
        return {**heads, self._node_id: replica.executed}

    def status(self, *, ready: bool, now_ms: int) -> NodeStatus:
        """Return what this node knows of the cluster."""
        replica, current, heads = self._replica(), self._configuration(), self.heads()
        newest, accused = max(heads.values()), self._accused()
        members = tuple(
            MemberStatus(
                id=member.id,
                address=member_spec(member).url,
                role="primary" if member.id == replica.primary else "backup",
                reachable=self.reaches(member.id),
                executed=heads.get(member.id),
                lag=None if member.id not in heads else newest - heads[member.id],
                faults=self._metrics.faults_by_replica.get(member.id, 0),
                evidence=accused.get(member.id, 0),
            )
            for member in current.members
        )
        return NodeStatus(
            node_id=self._node_id,
            epoch=current.epoch,
            ends_at=current.ends_at,
            is_member=self.is_member,
            view=replica.view,
            sequence=replica.executed,
            behind=newest - replica.executed,
            stable=replica.stable,
            primary=replica.primary,
            f=faults_tolerated(len(members)),
            quorum=quorum_size(len(members)),
            ready=ready,
            amnesia=replica.amnesia,
            diverged=replica.diverged,
            copying=replica.copying,
            evidence=sum(accused.values()),
            members=members,
            partition=self.watch.status(now_ms),
        )
