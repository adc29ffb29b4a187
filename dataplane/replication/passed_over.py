"""A node that slept while the members changed: how it learns of that, and where it goes on.

Such a node is in an epoch that is over. As long as its peers hold what it lacks, it comes to the
epoch's end like any laggard. When they do not, nothing of the epochs that followed can be checked
with the keys that it knows; but the chain of epochs proves who the members are by now, and f+1
signatures under a change tell it where no quorum is left to sign. With those members it goes on
like a node that joins: it copies a state that they certified, which tells the rest.
"""

from collections.abc import Callable, Mapping, Sequence

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import Status
from dataplane.consensus.replica import Replica
from dataplane.documents.types import Configuration
from dataplane.replication.handovers import validators_of
from dataplane.wire.membership import Member
from dataplane.wire.proofs import EpochChange
from dataplane.wire.quorum import faults_tolerated

PATIENCE_STATUSES = 10
"""For so many exchanges of positions a node may make no progress before it gives up its epoch."""
COPYING_FACTOR = 6
"""It waits longer while it copies a state of its epoch, which may be large."""


class PassedOver:
    """Notices that a node makes no progress in an epoch that is known to be over."""

    def __init__(self, limits: Limits, following: Callable[[int], Sequence[EpochChange]]) -> None:
        """`following` answers the changes from an epoch on that its members vouch for."""
        self._patience_ms = PATIENCE_STATUSES * limits.status_ms
        self._following = following
        self._stood_at = (0, 0)
        self._since_ms: int | None = None

    def where_to(
        self, current: Configuration, replica: Replica, now_ms: int
    ) -> Configuration | None:
        """Return the epoch to go on in, once the own one is to be given up.

        That is the newest of which a certificate is to be had. Of its members only what the chain
        says is known, and what was known before.
        """
        chain = self._following(current.epoch)
        if not chain:
            self._since_ms = None
            return None
        stands_at = (current.epoch, replica.executed)
        if self._since_ms is None or self._stood_at != stands_at:
            self._stood_at, self._since_ms = stands_at, now_ms
        factor = 1 if replica.copying is None else COPYING_FACTOR
        if now_ms - self._since_ms < factor * self._patience_ms:
            return None
        certified = _certified(chain, current, replica.positions)
        begun = [change for change in chain if change.sequence <= certified]
        if not begun:
            return None
        known = {member.id: member for member in current.members}
        members = [
            known.get(one.id) or Member(one.id, "", 0, 0, bytes.fromhex(one.public_key), b"")
            for one in begun[-1].validators
        ]
        return Configuration(begun[-1].epoch + 1, begun[-1].sequence, tuple(members))


def _certified(
    chain: Sequence[EpochChange], current: Configuration, positions: Mapping[int, Status]
) -> int:
    """Return the newest sequence of which a certificate is to be had, on more than liars' word.

    Asked are the members of the newest epoch and of the one before: as long as nobody has certified
    what the newest began with, its members may still be on the way there, and the others keep the
    certificate that leads them.
    """
    before = chain[-2].validators if len(chain) > 1 else validators_of(current.members)
    newest = chain[-1].validators
    asked = {validator.id for validator in (*before, *newest)}
    told = sorted((positions[i].stable for i in asked if i in positions), reverse=True)
    liars_max = faults_tolerated(len(before)) + faults_tolerated(len(newest))
    return told[liars_max] if len(told) > liars_max else 0
