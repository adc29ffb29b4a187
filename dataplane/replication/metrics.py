"""Counters of one node's replication."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReplicationMetrics:
    """Plain counters, read by the node's metrics page."""

    batches_executed: int = 0
    requests_executed: int = 0
    log_syncs: int = 0
    log_records: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    messages_rejected: int = 0
    messages_dropped: int = 0
    checkpoints_stable: int = 0
    evidence: int = 0
    quorum_lost: int = 0
    rejoined: int = 0
    partitions_suspected: int = 0
    catchup_batches: int = 0
    catchup_bytes: int = 0
    alarms: dict[str, int] = field(default_factory=dict)
    faults_by_replica: dict[int, int] = field(default_factory=dict)

    def fault(self, replica: int) -> None:
        """Count something a peer should not have sent."""
        self.faults_by_replica[replica] = self.faults_by_replica.get(replica, 0) + 1
