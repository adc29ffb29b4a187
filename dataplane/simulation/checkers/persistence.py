"""Persisted before sent and before counted; acknowledged requests outlive crashes."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    digest_of,
)
from dataplane.consensus.records import (
    Accepted,
    Checkpointed,
    Decided,
    Prepared,
    Record,
    ViewEntered,
    ViewLeft,
)
from dataplane.documents.types import RequestResult
from dataplane.simulation.checkers.checker import Checker
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World

type VoteKey = tuple[str, int, int, int, bytes]
"""Kind, epoch, view, sequence, digest."""


def _place(
    vote: PrePrepare | Prepare | Commit | CommitCertificate,
) -> tuple[int, int, int, bytes]:
    return (vote.epoch, vote.view, vote.sequence, vote.digest)


class PersistedFirst(Checker):
    """Every vote that is sent, or counted by its own maker, is on its maker's disk."""

    name = "persisted_first"
    invariant = "I10"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._on_disk: dict[int, set[VoteKey]] = {}

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        known = self._on_disk.setdefault(node.id, set())
        match record:
            case Accepted(pre_prepare=proposal, vote=vote):
                if vote is None:
                    known.add(("PrePrepare", *_place(proposal)))
                else:
                    known.add(("Prepare", *_place(vote)))
            case Prepared(vote=commit):
                known.add(("Commit", *_place(commit)))
            case Checkpointed(vote=checkpoint):
                known.add(("Checkpoint", checkpoint.epoch, 0, checkpoint.sequence, checkpoint.root))
            case ViewLeft(change=change):
                known.add(("ViewChange", change.epoch, change.view, 0, digest_of(change.sig)))
            case ViewEntered(new_view=new_view):
                epoch, view = new_view.epoch, new_view.view
                known.add(("NewView", epoch, view, 0, digest_of(new_view.sig)))
                if new_view.replica == node.id:
                    for carried in new_view.proposals:
                        known.add(("PrePrepare", epoch, view, carried.sequence, carried.digest))
            case _:
                pass

    def _require(self, node: "Node", key: VoteKey, what: str) -> None:
        if key not in self._on_disk.get(node.id, set()):
            self.fail(f"node {node.id} {what} its {key[0]} for {key[1:4]} before it was on disk")

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        match message:
            case PrePrepare() if message.replica != node.id:
                pass  # Passed on to a laggard: the statement is the primary's.
            case PrePrepare() | Prepare() | Commit():
                self._require(node, (type(message).__name__, *_place(message)), "sent")
            case Checkpoint():
                key = ("Checkpoint", message.epoch, 0, message.sequence, message.root)
                self._require(node, key, "sent")
            case ViewChange():
                key = ("ViewChange", message.epoch, message.view, 0, digest_of(message.sig))
                self._require(node, key, "sent")
            case NewView() if message.replica == node.id:
                key = ("NewView", message.epoch, message.view, 0, digest_of(message.sig))
                self._require(node, key, "sent")
            case _:
                pass

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        match record:
            case Prepared(vote=vote, proof=proof):
                if node.id in dict(proof.votes):
                    self._require(node, ("Prepare", *_place(vote)), "counted")
            case Decided(certificate=certificate):
                if node.id in dict(certificate.votes):
                    self._require(node, ("Commit", *_place(certificate)), "counted")
            case _:
                pass


class Durability(Checker):
    """What a client was told is on the disks of enough honest replicas to survive any crash."""

    name = "durability"
    invariant = "I8"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._committed: dict[int, set[int]] = {}
        self._epochs: dict[int, int] = {}
        self._acknowledged: int = 0

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        match record:
            case Prepared(vote=vote):
                self._hold(node, vote.epoch, vote.sequence)
            case Decided(certificate=certificate):
                self._hold(node, certificate.epoch, certificate.sequence)
            case _:
                pass

    def _hold(self, node: "Node", epoch: int, sequence: int) -> None:
        self._epochs[sequence] = epoch
        if node.id in self.options.members(epoch):
            self._committed.setdefault(sequence, set()).add(node.id)

    @override
    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        self._acknowledged = max(self._acknowledged, result.sequence)
        holders = len(self._committed.get(result.sequence, ()))
        epoch = self._epochs.get(result.sequence, 0)
        lying = self.options.liars.intersection(self.options.members(epoch))
        needed = self.quorum(epoch) - len(lying)
        if holders < needed:
            self.fail(f"{result.sequence} was answered with {holders} of {needed} copies on disk")

    @override
    def at_end(self, world: "World") -> None:
        if not self.options.is_live:
            return
        newest = max(node.executor.applied for node in world.honest)
        if newest < self._acknowledged:
            self.fail(f"{self._acknowledged} was answered, the cluster ended at {newest}")
