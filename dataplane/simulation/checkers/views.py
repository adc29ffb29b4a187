"""A new view carries over what may be decided, and all who enter it agree on what that is."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import NULL_DIGEST, AnyMessage, NewView, ViewChange
from dataplane.consensus.records import Decided, Record, ViewEntered
from dataplane.simulation.checkers.checker import Checker
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node


type View = tuple[int, int]
"""An epoch and a view of it."""


def carried_by_the_paper(new_view: NewView, base: int) -> tuple[int, dict[int, bytes]]:
    """Return min-s and what follows from the ViewChanges, written apart from the code under test.

    Of every sequence above the newest stable checkpoint, or above where the epoch began, the proof
    of the highest view.
    """
    stable = max(
        base if change.checkpoint is None else change.checkpoint.sequence
        for change in new_view.changes
    )
    proofs = sorted(
        (proof.sequence, proof.view, proof.digest)
        for change in new_view.changes
        for proof in change.prepared
        if proof.sequence > stable
    )
    highest = {sequence: digest for sequence, _, digest in proofs}
    last = max(highest, default=stable)
    return stable, {
        sequence: highest.get(sequence, NULL_DIGEST) for sequence in range(stable + 1, last + 1)
    }


class NewViews(Checker):
    """What a NewView proposes follows from q ViewChanges, and is what every acceptor finds."""

    name = "new_view"
    invariant = "I13"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._by_honest: dict[View, tuple[tuple[int, bytes], ...]] = {}
        self._left: dict[tuple[int, View], bytes] = {}

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        if isinstance(message, ViewChange) and message.replica == node.id:
            said = self._left.setdefault((node.id, (message.epoch, message.view)), message.sig)
            if said != message.sig:
                self.fail(f"node {node.id} signed two ViewChanges for view {message.view}")

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if not isinstance(record, ViewEntered):
            return
        new_view = record.new_view
        backers = {change.replica for change in new_view.changes if change.view == new_view.view}
        if len(backers) < self.quorum(new_view.epoch):
            self.fail(f"node {node.id} entered view {new_view.view} backed by {sorted(backers)}")
        _, expected = carried_by_the_paper(new_view, node.config.base)
        proposed = {proposal.sequence: proposal.digest for proposal in new_view.proposals}
        if proposed != expected:
            self.fail(f"view {new_view.view} proposes what does not follow, at node {node.id}")
        # A primary that crashes before its own NewView is on disk, and said, may make another one.
        if node.id != new_view.replica:
            self._compare(node, new_view)

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        if isinstance(record, ViewEntered) and node.id == record.new_view.replica:
            self._compare(node, record.new_view)

    def _compare(self, node: "Node", new_view: NewView) -> None:
        if new_view.replica in self.options.liars:
            return
        proposals = tuple(sorted((p.sequence, p.digest) for p in new_view.proposals))
        key = (new_view.epoch, new_view.view)
        if self._by_honest.setdefault(key, proposals) != proposals:
            self.fail(f"node {node.id} takes another view {new_view.view} than the others")


class DecidedIsCarried(Checker):
    """What was decided in a view is what every later view carries at its sequence."""

    name = "carried"
    invariant = "I13"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._decided: dict[int, tuple[View, bytes]] = {}
        self._carried: dict[View, tuple[int, dict[int, bytes]]] = {}

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        match record:
            case Decided(certificate=proof):
                known = self._decided.get(proof.sequence)
                at = (proof.epoch, proof.view)
                if known is None or at < known[0]:
                    self._decided[proof.sequence] = (at, proof.digest)
                    for view in self._carried:
                        self._compare(view, proof.sequence)
            case ViewEntered(new_view=new_view):
                key = (new_view.epoch, new_view.view)
                self._carried[key] = carried_by_the_paper(new_view, node.config.base)
                for sequence in self._decided:
                    self._compare(key, sequence)
            case _:
                pass

    def _compare(self, key: View, sequence: int) -> None:
        (epoch, view), digest = self._decided[sequence]
        stable, carried = self._carried[key]
        is_later = epoch == key[0] and view < key[1]
        if is_later and sequence > stable and carried.get(sequence) != digest:
            self.fail(f"view {key[1]} does not carry {sequence}, decided in view {view}")
