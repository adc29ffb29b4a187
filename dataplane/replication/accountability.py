"""What a node does with evidence: keep it on disk, tell it to peers that connect, show it.

The core tells all peers of what it finds, once. A peer that was away then learns it here: each new
connection is told everything that is kept, a few proofs a second. What peers send is bounded before
anything of it is verified.
"""

import logging
from dataclasses import dataclass
from itertools import batched
from typing import Final

from dataplane.consensus.config import ReplicaConfig, Verifier
from dataplane.consensus.evidence import PROOFS_PER_MESSAGE_MAX, EvidenceBook, proof_fault
from dataplane.consensus.messages import Accusation, encode_message
from dataplane.consensus.outcome import Evidence
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.transport import PeerTransport
from dataplane.storage.evidence import EvidenceLog, StoredEvidence

log = logging.getLogger(__name__)

TELL_EVERY_MS: Final = 1_000
ADMITTED_PER_WINDOW: Final = 4 * PROOFS_PER_MESSAGE_MAX
"""Proofs of one peer looked at a second: four times what an honest one sends."""


@dataclass(slots=True)
class _Peer:
    """How far a peer has been told, and what it may still send in this second."""

    connection: int = 0
    next: int = 0
    until: int = 0
    window_ms: int = 0
    admitted: int = 0


class Accountability:
    """The evidence of one node."""

    def __init__(
        self,
        config: ReplicaConfig,
        verifier: Verifier,
        evidence_log: EvidenceLog,
        metrics: ReplicationMetrics,
    ) -> None:
        self._config = config
        self._verifier = verifier
        self._log = evidence_log
        self._metrics = metrics
        self._book = EvidenceBook(config.limits.evidence_max, config.n)
        self._told_ms = 0
        self._peers: dict[int, _Peer] = {}
        self.set_config(config)
        self.records: list[StoredEvidence] = []
        for record in evidence_log.records:
            if self._is_good(record) and self._book.note(record.proof):
                self.records.append(record)
        lost = evidence_log.damaged_count + len(evidence_log.records) - len(self.records)
        if lost:
            log.warning("evidence.unreadable", extra={"count": lost})
        metrics.evidence = len(self.records)

    def set_config(self, config: ReplicaConfig) -> None:
        """Go on with the members of another epoch; what was proven before stays proven."""
        self._config = config
        for member in config.members:
            self._peers.setdefault(member.replica_id, _Peer())

    def _is_good(self, record: StoredEvidence) -> bool:
        """Check a record with the key that was the accused's when it was written."""
        key = record.public_key
        if record.proof.epoch == self._config.epoch:
            key = self._config.public_key(record.proof.replica) or b""
        fault = proof_fault(record.proof, self._config.cluster_id, key, self._verifier)
        return fault is None

    def recall(self) -> list[Accusation]:
        """Return what is kept, for a core that has just started."""
        epoch = self._config.epoch
        proofs = (record.proof for record in self.records if record.proof.epoch == epoch)
        return [Accusation(tuple(some)) for some in batched(proofs, PROOFS_PER_MESSAGE_MAX)]

    def on_evidence(self, effect: Evidence, now_ms: int) -> None:
        """Keep what the core found or was told."""
        if effect.proof.epoch != self._config.epoch:
            return
        key = self._config.public_key(effect.replica) or b""
        record = StoredEvidence(effect.proof, key, now_ms, effect.told_by)
        # The core has checked it; who is named by this node must have signed it all the same.
        if not self._book.wants(effect.proof) or not self._is_good(record):
            return
        if not self._log.append(record):
            return
        self._book.note(effect.proof)
        self.records.append(record)
        self._metrics.evidence += 1
        self._metrics.fault(effect.replica)
        log.error(
            "peer.equivocated",
            extra={
                "peer": effect.replica,
                "kind": effect.proof.kind,
                "sequence": effect.proof.sequence,
                "told_by": effect.told_by,
            },
        )

    def admits(self, sender: int, message: Accusation, now_ms: int) -> bool:
        """Whether a peer's proofs are looked at now."""
        peer = self._peers.setdefault(sender, _Peer())
        if now_ms - peer.window_ms >= TELL_EVERY_MS:
            peer.window_ms, peer.admitted = now_ms, 0
        peer.admitted += len(message.proofs)
        return peer.admitted <= ADMITTED_PER_WINDOW

    def on_tick(self, transport: PeerTransport, now_ms: int) -> None:
        """Go on telling peers that connected what is kept."""
        if now_ms - self._told_ms < TELL_EVERY_MS:
            return
        self._told_ms = now_ms
        for replica, peer in self._peers.items():
            connection = transport.connection_number(replica)
            if connection != peer.connection:
                peer.connection, peer.next, peer.until = connection, 0, len(self.records)
            some = self.records[peer.next : min(peer.until, peer.next + PROOFS_PER_MESSAGE_MAX)]
            if connection and some:
                peer.next += len(some)
                proofs = [r.proof for r in some if r.proof.epoch == self._config.epoch]
                # The keys of earlier epochs are not at hand everywhere.
                if proofs:
                    transport.send(replica, encode_message(Accusation(tuple(proofs))))

    def accused(self) -> dict[int, int]:
        """Return how many proofs there are against each accused replica."""
        counts: dict[int, int] = {}
        for record in self.records:
            counts[record.proof.replica] = counts.get(record.proof.replica, 0) + 1
        return counts
