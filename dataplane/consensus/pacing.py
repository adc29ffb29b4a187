"""How long a primary lets requests wait for company.

An instance of the protocol costs the same whatever it carries, so the aim is few and full batches.
While one is in flight, what comes meanwhile makes the next (Nagle's rule); when it ends, the
clients it answered are about to send again, and it is worth a moment to wait for them. A lone
client never waits: what came together last time is all there is to wait for.
"""

from typing import Final

from dataplane.consensus.config import Limits

WEIGHT: Final = 8
"""A new duration counts one part in so many."""
PROBE_EVERY: Final = 8
"""After so many batches, wait once for everybody who could come."""


class Pace:
    """Learns from the own batches how long they take and how many operations come together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sent: dict[int, tuple[int, int]] = {}
        """Own batches in flight: when each was proposed and how many operations it has."""
        self._took_ms = 0.0
        self._company = 1
        self._rounds = 0
        self._idle_from_ms = 0

    @property
    def company(self) -> int:
        """How many operations make a batch that need not wait while nothing is in flight."""
        return self._company

    def proposed(self, sequence: int, now_ms: int, op_count: int) -> None:
        """Note a batch of this replica."""
        if not self._sent:
            self._company = max(1, op_count)
        self._sent[sequence] = (now_ms, op_count)

    def executed(self, sequence: int, now_ms: int, unproposed: int) -> None:
        """Note that a batch executed while `unproposed` operations wait."""
        if not self._sent:
            return
        for passed in [s for s in self._sent if s < sequence]:
            del self._sent[passed]
        sent_ms, op_count = self._sent.pop(sequence, (0, 0))
        if not op_count:
            return
        self._took_ms += (now_ms - sent_ms - self._took_ms) / WEIGHT
        if not self._sent:
            self._idle_from_ms = now_ms
            self._rounds += 1
            if self._rounds % PROBE_EVERY == 0:
                self._company = min(op_count + unproposed, self._limits.batch_ops_max)

    def due_ms(self, since_ms: int, *, is_idle: bool) -> int:
        """Return when to propose, full or not, what waits since `since_ms`.

        The longer an instance takes, the less a part of that matters and the more a batch saves:
        on a busy machine because processors are scarce, on a long way because the links are.
        """
        limits = self._limits
        if is_idle:
            linger_ms = min(max(limits.batch_delay_ms, self._took_ms), limits.batch_wait_ms)
            return max(since_ms, self._idle_from_ms) + int(linger_ms)
        wait_ms = min(max(limits.batch_wait_ms, self._took_ms), limits.batch_wait_max_ms)
        return since_ms + int(wait_ms)
