"""What operators hear of: counted always, logged the first time and then now and then."""

import logging
from typing import Final

from dataplane.replication.metrics import ReplicationMetrics

log = logging.getLogger(__name__)

LOG_EVERY: Final = 100


class Notices:
    """Counts into the node's metrics and writes to its log."""

    def __init__(self, metrics: ReplicationMetrics) -> None:
        self._metrics = metrics

    def reject(self, sender: int, what: str) -> None:
        """A peer sent what it should not have."""
        self._metrics.messages_rejected += 1
        self._metrics.fault(sender)
        if self._metrics.messages_rejected % LOG_EVERY == 1:
            log.warning("peer.message_rejected", extra={"peer": sender, "what": what})

    def alarm(self, code: str, detail: str) -> None:
        """The protocol, or this node, has something an operator must know."""
        count = self._metrics.alarms.get(code, 0) + 1
        self._metrics.alarms[code] = count
        if count % LOG_EVERY == 1:
            log.error("node.alarm", extra={"code": code, "detail": detail, "count": count})
