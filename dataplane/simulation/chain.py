"""The chain of epochs of the world: what the real nodes' signatures of a handover prove."""

from collections import defaultdict

from dataplane.documents.types import Configuration
from dataplane.replication.handovers import validators_of
from dataplane.wire.proofs import EpochChange
from dataplane.wire.quorum import quorum_size


class Chain:
    """Changes of epoch, each proven once a quorum of the members before have come to its end."""

    def __init__(self) -> None:
        self._changes: list[EpochChange] = []
        self._ended: defaultdict[int, set[int]] = defaultdict(set)
        self._proven: dict[int, EpochChange] = {}

    @property
    def changes(self) -> tuple[EpochChange, ...]:
        """Every proven change from epoch 0 on, without gaps."""
        return tuple(self._changes)

    def ended(self, replica: int, old: Configuration, following: Configuration) -> None:
        """A replica came to the end of an epoch; members sign who follows."""
        members = {member.id for member in old.members}
        ended = self._ended[old.epoch]
        ended.update(members & {replica})
        if len(ended) >= quorum_size(len(members)):
            validators = validators_of(following.members)
            self._proven[old.epoch] = EpochChange(old.epoch, following.base, validators, ())
        # The end of an epoch may be proven before that of an earlier one.
        while len(self._changes) in self._proven:
            self._changes.append(self._proven[len(self._changes)])
