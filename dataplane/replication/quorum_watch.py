"""Whether this node reaches a quorum: when it lost one, how stale it is, when it came back.

A node is *cut off* once it has reached too few members for a moment (`GRACE_MS`, so that one
connection that is dialled again refuses nothing). It has *rejoined* when it reaches a quorum, has
heard from a quorum since, and has executed everything that those had executed when they spoke.
"""

import logging
from collections.abc import Callable
from typing import Final

from dataplane.consensus.messages import AnyMessage, Committed, Status
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.status import PartitionStatus
from dataplane.wire.quorum import quorum_size

log = logging.getLogger(__name__)

GRACE_MS: Final = 1_000
STALE_MS: Final = 3_000
"""Every replica states its position each second; so long after the last, answers are called old."""


class QuorumWatch:
    """Follows one node's view of its peers; times are given, not read."""

    def __init__(
        self,
        node_id: int,
        members: Callable[[], tuple[int, ...]],
        reaches: Callable[[int], bool],
        metrics: ReplicationMetrics,
    ) -> None:
        self._node_id = node_id
        self._members = members
        self._reaches = reaches
        self._metrics = metrics
        self._heard: dict[int, tuple[int, int]] = {}
        """Peer -> (when it last stated its position, the sequence it had executed)."""
        self._unreachable: tuple[int, ...] = ()
        self._missing_since_ms: int | None = None
        self._lost_ms: int | None = None
        self._regained_ms: int | None = None
        self._target: int | None = None
        self.last_outage_ms = 0
        """From losing the quorum to having caught up again."""
        self.last_recovery_ms = 0
        """The part of it after a quorum was reached again."""
        self._started_ms: int | None = None
        self._was_together = False

    def on_message(self, sender: int, message: AnyMessage, size_bytes: int, now_ms: int) -> None:
        """Take note of a peer's position, and of what catching up costs."""
        if isinstance(message, Status):
            self._heard[sender] = (now_ms, message.executed)
        elif isinstance(message, Committed):
            self._metrics.catchup_batches += len(message.entries)
            self._metrics.catchup_bytes += size_bytes

    @property
    def reached(self) -> int:
        """How many members this node reaches, itself included."""
        return sum(map(self._reaches, self._members()))

    @property
    def _quorum(self) -> int:
        return quorum_size(len(self._members()))

    @property
    def is_cut_off(self) -> bool:
        """Whether this node knows that it reaches no quorum."""
        return self._lost_ms is not None and self.reached < self._quorum

    def explain(self) -> str:
        """Return what is missing, in words."""
        count = len(self._members())
        return f"this node reaches {self.reached} of {count} members; a quorum is {self._quorum}"

    def staleness_ms(self, now_ms: int) -> int:
        """Return how long ago a quorum, this node included, last stated its position here."""
        needed = self._quorum - 1
        if needed == 0:
            return 0
        times = sorted((at_ms for at_ms, _ in self._heard_of_members()), reverse=True)
        started_ms = now_ms if self._started_ms is None else self._started_ms
        last = times[needed - 1] if len(times) >= needed else started_ms
        return max(0, now_ms - last)

    def is_stale(self, now_ms: int) -> bool:
        """Whether an answer from this node's own state must be called old."""
        return self.is_cut_off or self.staleness_ms(now_ms) > STALE_MS

    def update(self, now_ms: int, executed: int) -> bool:
        """Look again; return whether the node is cut off."""
        if self._started_ms is None:
            self._started_ms = now_ms
        for stranger in self._heard.keys() - set(self._members()):
            del self._heard[stranger]
        self._note_unreachable()
        if self.reached >= self._quorum:
            self._missing_since_ms = None
            self._reaching(now_ms, executed)
            return False
        self._regained_ms = self._target = None
        if self._missing_since_ms is None:
            self._missing_since_ms = now_ms
        if self._lost_ms is not None:
            return True
        if now_ms - self._missing_since_ms < GRACE_MS:
            return False
        self._lost_ms = self._missing_since_ms
        if self._was_together:
            self._metrics.quorum_lost += 1
            log.error("cluster.quorum_lost", extra={"detail": self.explain()})
        return True

    def _missing(self) -> tuple[int, ...]:
        return tuple(member for member in self._members() if not self._reaches(member))

    def _heard_of_members(self) -> list[tuple[int, int]]:
        return [
            self._heard[member]
            for member in self._members()
            if member != self._node_id and member in self._heard
        ]

    def _note_unreachable(self) -> None:
        gone = self._missing()
        if gone == self._unreachable:
            return
        if self._was_together and not set(gone) <= set(self._unreachable):
            self._metrics.partitions_suspected += 1
            log.warning("cluster.partition_suspected", extra={"unreachable": list(gone)})
        self._unreachable = gone

    def _reaching(self, now_ms: int, executed: int) -> None:
        if self._lost_ms is None:
            self._was_together = True
            return
        if self._regained_ms is None:
            self._regained_ms = now_ms
        if self._target is None:
            heard = [seq for at_ms, seq in self._heard_of_members() if at_ms >= self._regained_ms]
            if len(heard) < self._quorum - 1:
                return
            self._target = max(heard, default=0)
        if executed < self._target:
            return
        self.last_outage_ms = now_ms - self._lost_ms
        self.last_recovery_ms = now_ms - self._regained_ms
        self._lost_ms = self._regained_ms = self._target = None
        if self._was_together:
            self._metrics.rejoined += 1
            log.info(
                "cluster.rejoined",
                extra={"outage_ms": self.last_outage_ms, "recovery_ms": self.last_recovery_ms},
            )
        self._was_together = True

    def status(self, now_ms: int) -> PartitionStatus:
        """Return what a status page shows."""
        return PartitionStatus(
            reached=self.reached,
            cut_off=self.is_cut_off,
            unreachable=self._missing(),
            staleness_ms=self.staleness_ms(now_ms),
            quorum_lost=self._metrics.quorum_lost,
            rejoined=self._metrics.rejoined,
            last_outage_ms=self.last_outage_ms,
            last_recovery_ms=self.last_recovery_ms,
        )
