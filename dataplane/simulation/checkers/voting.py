"""One vote a slot, in one's own view, never backwards, and none after damage."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import AnyMessage, Checkpoint, Commit, Prepare, PrePrepare
from dataplane.consensus.records import Accepted, MadeStable, Prepared, Record
from dataplane.simulation.checkers.checker import Checker
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node


def _voted_view(record: Record) -> int | None:
    """Return the view of the vote in a record."""
    match record:
        case Accepted(pre_prepare=proposal):
            return proposal.view
        case Prepared(vote=vote):
            return vote.view
        case _:
            return None


class Monotonic(Checker):
    """The view and the low watermark only rise, also over restarts; flushed state stays."""

    name = "monotonic"
    invariant = "I4"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._now: dict[int, tuple[int, int]] = {}
        self._on_disk: dict[int, tuple[int, int]] = {}

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        view, stable = self._on_disk.get(node.id, (0, 0))
        voted = _voted_view(record)
        if voted is not None:
            self._on_disk[node.id] = (max(view, voted), stable)
        elif isinstance(record, MadeStable):
            self._on_disk[node.id] = (view, max(stable, record.certificate.sequence))

    @override
    def on_start(self, node: "Node") -> None:
        assert node.replica is not None
        view, stable = self._on_disk.get(node.id, (0, 0))
        if node.replica.view < view:
            self.fail(f"node {node.id} voted in view {view} and restarts in {node.replica.view}")
        if node.replica.stable < stable:
            self.fail(f"node {node.id} restarts at h={node.replica.stable}, {stable} was on disk")
        if node.executor.applied < node.flushed:
            self.fail(f"node {node.id} lost executed batches {node.flushed}")
        self._now[node.id] = (node.replica.view, node.replica.stable)

    @override
    def after_turn(self, node: "Node") -> None:
        if node.replica is None:
            return
        view, stable = now = (node.replica.view, node.replica.stable)
        before = self._now[node.id]
        if now == before:
            return
        if view < before[0] or stable < before[1]:
            self.fail(f"node {node.id} went from view and h {before} back to {now}")
        self._now[node.id] = now


class OneVote(Checker):
    """A replica never signs two statements for one slot, view and phase, nor for a checkpoint."""

    name = "one_vote"
    invariant = "I5"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._signed: dict[tuple[int, type, int, int], bytes] = {}

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        key: tuple[int, type, int, int]
        match message:
            case PrePrepare() | Prepare() | Commit() if message.replica == node.id:
                key = (node.id, type(message), message.view, message.sequence)
                said = message.digest
            case Checkpoint():
                key = (node.id, Checkpoint, message.epoch, message.sequence)
                said = message.root
            case _:
                return
        if self._signed.setdefault(key, said) != said:
            self.fail(f"node {node.id} signed two {key[1].__name__} for {key[3]}")


class VotesInView(Checker):
    """Nobody gives a new vote in a view that is not its own."""

    name = "votes_in_view"
    invariant = "I6"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._left: dict[int, int] = {}

    @override
    def on_start(self, node: "Node") -> None:
        self.after_turn(node)

    @override
    def after_turn(self, node: "Node") -> None:
        if node.replica is not None:
            self._left[node.id] = node.replica.view

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        voted = _voted_view(record)
        if voted is None or node.replica is None:
            return
        if voted < self._left.get(node.id, 0):
            self.fail(f"node {node.id} votes in view {voted}, which it left")
        if voted > node.replica.view:
            self.fail(f"node {node.id} votes in view {voted}, which it did not enter")


class DamagedLog(Checker):
    """A replica whose log is damaged may have forgotten a vote, and gives none."""

    name = "damaged_log"
    invariant = "amnesia"
    holds_beyond_model = True

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        if node.disk.was_flipped and isinstance(
            message, PrePrepare | Prepare | Commit | Checkpoint
        ):
            self.fail(f"node {node.id} votes although its log is damaged")
