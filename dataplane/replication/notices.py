"""What operators hear of: counted always, logged the first time and then now and then."""

import logging
from typing import Final

from dataplane.ports import Clock
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.rejections import Rejections

log = logging.getLogger(__name__)

LOG_EVERY: Final = 100
REFUSALS: Final = {"clock_skew": ("PrePrepare", "time_in_future")}
"""Alarms that tell of a proposal that was refused."""
ALARMS: Final = {("FragmentAnswer", "wrong_digest"): "wrong_fragment"}
"""What no honest peer sends, by damage or by chance: it looks at what it has before."""


class Notices:
    """Counts into the node's metrics and writes to its log."""

    def __init__(self, metrics: ReplicationMetrics, clock: Clock) -> None:
        self._metrics = metrics
        self.rejections = Rejections(clock)

    @property
    def alarms(self) -> dict[str, int]:
        """How often each alarm was raised."""
        return self._metrics.alarms

    def reject(self, sender: int, kind: str, reason: str) -> None:
        """A peer sent what it should not have."""
        self._metrics.messages_rejected += 1
        self._metrics.fault(sender)
        self.rejections.note(sender, kind, reason)
        if self._metrics.messages_rejected % LOG_EVERY == 1:
            log.warning(
                "peer.message_rejected", extra={"peer": sender, "kind": kind, "reason": reason}
            )
        code = ALARMS.get((kind, reason))
        if code is not None:
            self.alarm(code, f"node {sender} sent it")

    def alarm(self, code: str, detail: str, proposer: int | None = None) -> None:
        """The protocol, or this node, has something an operator must know."""
        count = self._metrics.alarms.get(code, 0) + 1
        self._metrics.alarms[code] = count
        if proposer is not None and code in REFUSALS:
            self.rejections.note(proposer, *REFUSALS[code])
        if count % LOG_EVERY == 1:
            log.error("node.alarm", extra={"code": code, "detail": detail, "count": count})
