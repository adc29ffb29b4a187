"""The chain of epochs of the world: what the real nodes' signatures of a handover prove."""

from collections import defaultdict
from collections.abc import Iterable

from dataplane.documents.types import Configuration
from dataplane.replication.handovers import validators_of
from dataplane.wire.proofs import EpochChange
from dataplane.wire.quorum import faults_tolerated, quorum_size


class Chain:
    """Changes of epoch, each proven once a quorum of the members before have come to its end.

    Liars sign nothing: what they can do else is to sign what no honest member does, which f of them
    cannot make anybody believe.
    """

    def __init__(self, members: Iterable[int], liars: frozenset[int]) -> None:
        self._members: dict[int, frozenset[int]] = {0: frozenset(members)}
        self._liars = liars
        self._changes: list[EpochChange] = []
        self._ended: defaultdict[int, set[int]] = defaultdict(set)
        self._proven: dict[int, EpochChange] = {}
        self._told: dict[int, EpochChange] = {}

    @property
    def changes(self) -> tuple[EpochChange, ...]:
        """Every proven change from epoch 0 on, without gaps."""
        return tuple(self._changes)

    def following(self, epoch: int) -> tuple[EpochChange, ...]:
        """The changes from an epoch on, as far as f+1 members of each vouch for them."""
        found: list[EpochChange] = []
        while (change := self._told.get(epoch + len(found))) is not None:
            found.append(change)
        return tuple(found)

    def ended(self, replica: int, following: Configuration) -> None:
        """A replica is behind the end of an epoch, or starts there; members sign who follows."""
        epoch = following.epoch - 1
        members = self._members.get(epoch)
        if members is None:
            return
        self._members[following.epoch] = frozenset(member.id for member in following.members)
        ended = self._ended[epoch]
        ended.update(members & {replica} - self._liars)
        change = EpochChange(epoch, following.base, validators_of(following.members), ())
        if len(ended) > faults_tolerated(len(members)):
            self._told[epoch] = change
        if len(ended) >= quorum_size(len(members)):
            self._proven[epoch] = change
        # The end of an epoch may be proven before that of an earlier one.
        while len(self._changes) in self._proven:
            self._changes.append(self._proven[len(self._changes)])
