"""What a node refused of what its peers sent, and why: counted, and the latest of it kept.

Only the path of a refusal pays for it. A flood of one kind is one entry a second, so that neither
memory nor a reader is flooded.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from dataplane.ports import Clock

KEPT_MAX: Final = 512
COUNTED_MAX: Final = 256
"""Different (sender, kind, reason) counted apart; there are far fewer with 31 members."""
SAME_MS: Final = 1_000

type Cause = tuple[int, str, str]
"""(sender, kind of message, reason)"""


class Rejection(msgspec.Struct):
    """Refusals of one kind from one sender within a second of the first of them."""

    number: int
    at_ms: int
    sender: int
    kind: str
    reason: str
    count: int = 1


class Rejections:
    """Counts by sender, kind and reason, and the newest entries in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made = 0
        self._latest: deque[Rejection] = deque(maxlen=KEPT_MAX)
        self._by_cause: dict[Cause, Rejection] = {}
        self.counts: dict[Cause, int] = {}

    def note(self, sender: int, kind: str, reason: str) -> None:
        """Count a refusal; it is an entry of its own unless there was one like it just now."""
        cause = (sender, kind, reason)
        if cause not in self.counts and len(self.counts) >= COUNTED_MAX:
            return
        self.counts[cause] = self.counts.get(cause, 0) + 1
        now_ms = self._clock.now_ms()
        known = self._by_cause.get(cause)
        if known is not None and now_ms - known.at_ms < SAME_MS:
            known.count += 1
            return
        self._made += 1
        entry = Rejection(self._made, now_ms, sender, kind, reason)
        self._by_cause[cause] = entry
        self._latest.append(entry)

    @property
    def newest(self) -> int:
        """The number of the newest entry, 0 before the first."""
        return self._made

    def since(self, number: int, limit: int) -> Sequence[Rejection]:
        """Return the oldest kept entries behind an entry's number."""
        return [entry for entry in self._latest if entry.number > number][:limit]
