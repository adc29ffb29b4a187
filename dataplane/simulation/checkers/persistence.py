"""Persisted before sent and before counted; acknowledged requests outlive crashes."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    Commit,
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

type VoteKey = tuple[str, int, int, bytes]
"""Kind, view, sequence, digest."""


def quorum_by_the_paper(n: int) -> int:
    """Return ceil((n+f+1)/2), written apart from the code under test."""
    f = (n - 1) // 3
    return (n + f + 2) // 2


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
                    known.add(("PrePrepare", proposal.view, proposal.sequence, proposal.digest))
                else:
                    known.add(("Prepare", vote.view, vote.sequence, vote.digest))
            case Prepared(vote=commit):
                known.add(("Commit", commit.view, commit.sequence, commit.digest))
            case Checkpointed(vote=checkpoint):
                known.add(("Checkpoint", 0, checkpoint.sequence, checkpoint.root))
            case ViewLeft(change=change):
                known.add(("ViewChange", change.view, 0, digest_of(change.sig)))
            case ViewEntered(new_view=new_view):
                known.add(("NewView", new_view.view, 0, digest_of(new_view.sig)))
                if new_view.replica == node.id:
                    for carried in new_view.proposals:
                        sequence, digest = carried.sequence, carried.digest
                        known.add(("PrePrepare", new_view.view, sequence, digest))
            case _:
                pass

    def _require(self, node: "Node", key: VoteKey, what: str) -> None:
        if key not in self._on_disk.get(node.id, set()):
            self.fail(f"node {node.id} {what} its {key[0]} for {key[1:3]} before it was on disk")

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        match message:
            case PrePrepare() if message.replica != node.id:
                pass  # Passed on to a laggard: the statement is the primary's.
            case PrePrepare() | Prepare() | Commit():
                key = (type(message).__name__, message.view, message.sequence, message.digest)
                self._require(node, key, "sent")
            case Checkpoint():
                self._require(node, ("Checkpoint", 0, message.sequence, message.root), "sent")
            case ViewChange():
                key = ("ViewChange", message.view, 0, digest_of(message.sig))
                self._require(node, key, "sent")
            case NewView() if message.replica == node.id:
                self._require(node, ("NewView", message.view, 0, digest_of(message.sig)), "sent")
            case _:
                pass

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        match record:
            case Prepared(vote=vote, proof=proof):
                if node.id in dict(proof.votes):
                    key = ("Prepare", vote.view, vote.sequence, vote.digest)
                    self._require(node, key, "counted")
            case Decided(certificate=certificate):
                if node.id in dict(certificate.votes):
                    view, sequence = certificate.view, certificate.sequence
                    key = ("Commit", view, sequence, certificate.digest)
                    self._require(node, key, "counted")
            case _:
                pass


class Durability(Checker):
    """What a client was told is on the disks of enough honest replicas to survive any crash."""

    name = "durability"
    invariant = "I8"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._committed: dict[int, set[int]] = {}
        self._acknowledged: int = 0

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        match record:
            case Prepared(vote=vote):
                self._committed.setdefault(vote.sequence, set()).add(node.id)
            case Decided(certificate=certificate):
                self._committed.setdefault(certificate.sequence, set()).add(node.id)
            case _:
                pass

    @override
    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        self._acknowledged = max(self._acknowledged, result.sequence)
        holders = len(self._committed.get(result.sequence, ()))
        needed = quorum_by_the_paper(self.options.n) - len(self.options.liars)
        if holders < needed:
            self.fail(f"{result.sequence} was answered with {holders} of {needed} copies on disk")

    @override
    def at_end(self, world: "World") -> None:
        if not self.options.is_live:
            return
        newest = max(node.executor.applied for node in world.honest)
        if newest < self._acknowledged:
            self.fail(f"{self._acknowledged} was answered, the cluster ended at {newest}")
