"""One membership per epoch, everywhere, from the same sequence on; nothing of it beyond its end."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.records import Accepted, Decided, EpochClosed, Prepared, Record
from dataplane.simulation.checkers.checker import Checker
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node


def _place(record: Record) -> tuple[int, int] | None:
    """Return the epoch and the sequence that a vote or a decision is of."""
    match record:
        case Accepted(pre_prepare=vote) | Prepared(vote=vote) | Decided(certificate=vote):
            return (vote.epoch, vote.sequence)
        case _:
            return None


class OneMembership(Checker):
    """An epoch has the members that were ordered, and one beginning and one end everywhere."""

    name = "membership"
    invariant = "I7"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._base: dict[int, int] = {0: 0}
        self._newest: dict[int, int] = {}

    @override
    def on_start(self, node: "Node") -> None:
        self._look(node)

    @override
    def on_epoch(self, node: "Node") -> None:
        self._look(node)

    def _look(self, node: "Node") -> None:
        epoch, base = node.config.epoch, node.config.base
        members = tuple(member.replica_id for member in node.config.members)
        if members != self.options.members(epoch):
            self.fail(f"node {node.id} has {members} as the members of epoch {epoch}")
        if self._base.setdefault(epoch, base) != base:
            self.fail(f"node {node.id} begins epoch {epoch} behind {base}")
        for earlier, newest in self._newest.items():
            if earlier < epoch and newest > base:
                self.fail(f"epoch {epoch} begins behind {base}, epoch {earlier} had {newest}")

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if isinstance(record, EpochClosed):
            if self._base.get(record.epoch + 1, record.sequence) != record.sequence:
                self.fail(f"node {node.id} closes epoch {record.epoch} at {record.sequence}")
            return
        place = _place(record)
        if place is None:
            return
        epoch, sequence = place
        self._newest[epoch] = max(self._newest.get(epoch, 0), sequence)
        end = self._base.get(epoch + 1)
        if sequence <= self._base.get(epoch, 0) or (end is not None and sequence > end):
            self.fail(f"node {node.id} takes {sequence} for one of epoch {epoch}")
