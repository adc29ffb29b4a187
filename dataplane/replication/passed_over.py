"""A node that slept while the members changed: how it learns of that, and where it goes on.

Such a node is in an epoch that is over. As long as its peers hold what it lacks, it comes to the
epoch's end like any laggard. When they do not, nothing of the epochs that followed can be checked
with the keys that it knows; but the chain of epochs proves who the members are by now. With those
it goes on like a node that joins: it copies a state that they certified, which tells the rest.
"""

from collections.abc import Callable, Sequence

from dataplane.consensus.config import Limits
from dataplane.documents.types import Configuration
from dataplane.wire.membership import Member
from dataplane.wire.proofs import EpochChange

PATIENCE_STATUSES = 10
"""For so many exchanges of positions a node may make no progress before it gives up its epoch."""


class PassedOver:
    """Notices that a node makes no progress in an epoch that is proved to be over."""

    def __init__(self, limits: Limits, chain: Callable[[], Sequence[EpochChange]]) -> None:
        self._patience_ms = PATIENCE_STATUSES * limits.status_ms
        self._chain = chain
        self._stood_at = (0, 0)
        self._since_ms: int | None = None

    def where_to(self, current: Configuration, executed: int, now_ms: int) -> Configuration | None:
        """Return the newest epoch that is proved, once the own one is to be given up.

        Of its members only what the chain says is known, and what was known before.
        """
        newest = self._chain()[-1] if self._chain() else None
        if newest is None or newest.epoch < current.epoch:
            self._since_ms = None
            return None
        if self._since_ms is None or self._stood_at != (current.epoch, executed):
            self._stood_at, self._since_ms = (current.epoch, executed), now_ms
        if now_ms - self._since_ms < self._patience_ms:
            return None
        known = {member.id: member for member in current.members}
        members = [
            known.get(one.id) or Member(one.id, "", 0, 0, bytes.fromhex(one.public_key), b"")
            for one in newest.validators
        ]
        return Configuration(newest.epoch + 1, newest.sequence, tuple(members))
