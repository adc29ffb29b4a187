"""One vote a slot, in one's own view, never backwards, and none after damage."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    Commit,
    Prepare,
    PrePrepare,
    ViewChange,
)
from dataplane.consensus.records import (
    Accepted,
    MadeStable,
    Prepared,
    Record,
    ViewEntered,
    ViewLeft,
)
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


def _view(record: Record) -> int | None:
    """Return the view that a record says its replica reached."""
    match record:
        case ViewLeft(change=change):
            return change.view
        case ViewEntered(new_view=new_view):
            return new_view.view
        case _:
            return _voted_view(record)


class Monotonic(Checker):
    """Epoch, view and low watermark only rise, also over restarts; flushed state stays.

    A restart with an older state goes through the end of its epoch again: the view counts in the
    epoch that it is of.
    """

    name = "monotonic"
    invariant = "I4"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._now: dict[int, tuple[int, int, int]] = {}
        self._views: dict[tuple[int, int], int] = {}
        self._stable: dict[tuple[int, int], int] = {}

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        key, reached = (node.id, record.epoch), _view(record)
        if reached is not None:
            self._views[key] = max(self._views.get(key, 0), reached)
        elif isinstance(record, MadeStable):
            self._stable[key] = max(self._stable.get(key, 0), record.certificate.sequence)

    @override
    def on_start(self, node: "Node") -> None:
        assert node.replica is not None
        if node.executor.applied < node.kept.flushed:
            self.fail(f"node {node.id} lost executed batches {node.kept.flushed}")
        self.on_epoch(node)

    @override
    def on_epoch(self, node: "Node") -> None:
        assert node.replica is not None
        key = (node.id, node.config.epoch)
        if node.is_amnesiac:
            self._views.pop(key, None)
            self._stable.pop(key, None)
        view, stable = self._views.get(key, 0), self._stable.get(key, 0)
        if node.replica.view < view:
            self.fail(f"node {node.id} was in view {view} and restarts in {node.replica.view}")
        if node.replica.stable < stable:
            self.fail(f"node {node.id} restarts at h={node.replica.stable}, {stable} was on disk")
        self._now[node.id] = (node.config.epoch, node.replica.view, node.replica.stable)

    @override
    def after_turn(self, node: "Node") -> None:
        if node.replica is None:
            return
        epoch, view, stable = now = (node.config.epoch, node.replica.view, node.replica.stable)
        before = self._now[node.id]
        if now == before:
            return
        if (epoch, view) < before[:2] or stable < before[2]:
            self.fail(f"node {node.id} went from epoch, view and h {before} back to {now}")
        self._now[node.id] = now


class OneVote(Checker):
    """A replica never signs two statements for one slot, view and phase, nor for a checkpoint."""

    name = "one_vote"
    invariant = "I5"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._signed: dict[tuple[int, type, int, int, int], bytes] = {}

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        key: tuple[int, type, int, int, int]
        match message:
            case PrePrepare() | Prepare() | Commit() if message.replica == node.id:
                kind, epoch, view = type(message), message.epoch, message.view
                key = (node.id, kind, epoch, view, message.sequence)
                said = message.digest
            case Checkpoint():
                key = (node.id, Checkpoint, message.epoch, 0, message.sequence)
                said = message.root
            case _:
                return
        if self._signed.setdefault(key, said) != said:
            self.fail(f"node {node.id} signed two {key[1].__name__} for {key[4]}")


class VotesInView(Checker):
    """Nobody gives a new vote in a view that it left or has not entered."""

    name = "votes_in_view"
    invariant = "I6"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._view: dict[int, tuple[int, bool]] = {}

    @override
    def on_start(self, node: "Node") -> None:
        assert node.replica is not None
        self._view[node.id] = (node.replica.view, node.replica.active)

    @override
    def on_epoch(self, node: "Node") -> None:
        self.on_start(node)

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        view, active = self._view[node.id]
        match record:
            case ViewLeft(change=change):
                self._view[node.id] = (max(view, change.view), active and view > change.view)
            case ViewEntered(new_view=new_view):
                if new_view.view >= view:
                    self._view[node.id] = (new_view.view, True)
            case _:
                voted = _voted_view(record)
                if voted is not None and (voted != view or not active):
                    self.fail(f"node {node.id} votes in view {voted}, it is in {view}: {active}")


class DamagedLog(Checker):
    """A replica whose log is damaged or lost may have forgotten a vote, and gives none.

    It may repeat what a NewView shows that it proposed: that is no new statement.
    """

    name = "damaged_log"
    invariant = "amnesia"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._shown: set[tuple[int, int, int, bytes]] = set()

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if isinstance(record, ViewEntered):
            epoch, view = record.epoch, record.new_view.view
            for shown in record.new_view.proposals:
                self._shown.add((epoch, view, shown.sequence, shown.digest))

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        if not node.disk.was_flipped and not node.is_amnesiac:
            return
        match message:
            case PrePrepare() if self._is_shown(message):
                pass
            case PrePrepare() | Prepare() | Commit() | Checkpoint() if message.replica == node.id:
                self.fail(f"node {node.id} votes although its log is damaged")
            case ViewChange() if message.replica == node.id:
                self.fail(f"node {node.id} leaves a view although its log is damaged")
            case _:
                pass

    def _is_shown(self, said: PrePrepare) -> bool:
        return (said.epoch, said.view, said.sequence, said.digest) in self._shown
