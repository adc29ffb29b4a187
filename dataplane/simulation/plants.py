"""Bugs planted on purpose, to prove that the checkers catch them.

A planted bug replaces a method of the real core for the time of a `with`; the core itself has no
switch for any of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from dataplane.consensus import config, tree
from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.messages import (
    AnyMessage,
    Commit,
    Prepare,
    TreeNodes,
    TreeRows,
    decode_batch,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.outcome import Broadcast, CopyStage, Execute, Persist
from dataplane.consensus.records import Record, Recovered, encode_record, recover
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.transfer import Transfer
from dataplane.consensus.view_change import ViewChanges
from dataplane.documents import copying
from dataplane.documents.types import RequestResult, RequestView
from dataplane.simulation import node
from dataplane.simulation.application import MapApplication, Session
from dataplane.simulation.plants_suspicion import SUSPICION_PLANTS
from dataplane.wire.quorum import quorum_size

type Patch = tuple[object, str, object]


def quorum_minus_one() -> list[Patch]:
    """A quorum is one replica smaller than it must be."""
    return [(config, "quorum_size", lambda n: max(1, quorum_size(n) - 1))]


def count_duplicate_votes() -> list[Patch]:
    """A repeated vote of one replica counts again."""
    real_prepare, real_commit = Ordering.on_prepare, Ordering.on_commit

    def on_prepare(self: Ordering, vote: Prepare, now_ms: int) -> None:
        slot = self._state.slots.get(vote.sequence)
        if slot is not None and vote.replica in slot.prepares:
            vote = msgspec.structs.replace(vote, replica=vote.replica + 100)
        real_prepare(self, vote, now_ms)

    def on_commit(self: Ordering, vote: Commit) -> None:
        slot = self._state.slots.get(vote.sequence)
        if slot is not None and vote.replica in slot.commits:
            vote = msgspec.structs.replace(vote, replica=vote.replica + 100)
        real_commit(self, vote)

    return [(Ordering, "on_prepare", on_prepare), (Ordering, "on_commit", on_commit)]


def ignore_digest() -> list[Patch]:
    """Votes count whatever digest they name."""

    def prepared_votes(self: Slot, primary: int, self_id: int) -> int:
        del self_id
        return 0 if self.pre_prepare is None else len({primary, *self.prepares})

    def commit_votes(self: Slot, view: int, digest: bytes) -> list[Commit]:
        del view, digest
        return [self.commits[replica] for replica in sorted(self.commits)]

    return [(Slot, "prepared_votes", prepared_votes), (Slot, "commit_votes", commit_votes)]


def count_primary_prepare() -> list[Patch]:
    """The primary's Prepare counts besides its proposal."""
    real = Ordering.on_prepare

    def on_prepare(self: Ordering, vote: Prepare, now_ms: int) -> None:
        if vote.replica == self._state.config.primary(vote.view) and self._state.in_reach(
            vote.sequence
        ):
            slot = self._state.slot(vote.sequence)
            slot.prepares.setdefault(vote.replica, vote)
            self.check_prepared(slot, now_ms)
            return
        real(self, vote, now_ms)

    def prepared_votes(self: Slot, primary: int, self_id: int) -> int:
        del primary, self_id
        if self.pre_prepare is None:
            return 0
        digest = self.pre_prepare.digest
        return 1 + sum(1 for vote in self.prepares.values() if vote.digest == digest)

    return [(Ordering, "on_prepare", on_prepare), (Slot, "prepared_votes", prepared_votes)]


def no_persist_before_send() -> list[Patch]:
    """Votes leave at once, not when they are on disk."""

    def broadcast(self: ReplicaState, message: AnyMessage, after: int = 0) -> None:
        del after
        if self.config.n > 1:
            self.emit(Broadcast(message, 0))

    return [(ReplicaState, "broadcast", broadcast)]


def own_vote_before_durable() -> list[Patch]:
    """A replica counts its own vote before it is on disk."""

    def persist(
        self: ReplicaState, sequence: int, *records: Record, then: Callable[[int], None]
    ) -> int:
        self.barrier += 1
        self.urgent_barrier = self.barrier
        self.emit(Persist(tuple(map(encode_record, records)), self.barrier, sequence))
        then(0)
        return self.barrier

    return [(ReplicaState, "persist", persist)]


def execute_twice() -> list[Patch]:
    """Execution does not look whether a request took effect already."""

    def repeated(
        self: MapApplication, session: Session, request: RequestView
    ) -> RequestResult | None:
        del self, session, request
        return None

    return [(MapApplication, "repeated", repeated)]


def no_watermark() -> list[Patch]:
    """The high watermark is ignored."""
    return [(ReplicaState, "high", property(lambda self: self.stable + 10**6))]


def execute_over_gaps() -> list[Patch]:
    """A decided batch is executed although one before it is missing."""

    def request_execution(self: Ordering) -> None:
        state = self._state
        for sequence in range(state.requested + 1, state.requested + 8):
            entry = state.archive.get(sequence)
            if entry is not None:
                state.requested = sequence
                self.waited_since_ms[sequence] = None
                batch = decode_batch(entry.batch)
                state.emit(Execute(sequence, batch, wants_root=False))

    return [(Ordering, "request_execution", request_execution)]


def forget_votes_on_restart() -> list[Patch]:
    """A restart forgets every vote, as if the log were in memory."""

    def amnesia(records: list[bytes], applied: int, root: bytes | None) -> Recovered:
        known = recover(records, applied, root)
        return Recovered(
            applied=applied, decided=known.decided, bodies=known.bodies, stable=known.stable
        )

    return [(node, "recover", amnesia)]


def never_repeat() -> list[Patch]:
    """Nothing is sent again after a loss, and nobody is taken along into a new view."""
    return [
        (Ordering, "_resend", lambda self, slot: None),
        (ViewChanges, "help", lambda self, replica, now_ms: None),
        (ViewChanges, "repeat", lambda self, now_ms: None),
    ]


def never_fetch() -> list[Patch]:
    """A replica that is behind does not ask for what it misses."""
    return [(CatchUp, "_fetch", lambda self, peer, last, now_ms: None)]


def install_unchecked() -> list[Patch]:
    """Parts of a copied state are believed, whatever their parents say of them."""
    believed: dict[bytes, bytes] = {}

    def on_nodes(self: Transfer, sender: int, message: TreeNodes, now_ms: int) -> None:
        question = self._question(sender, message.sequence)
        if question is not None:
            nodes = [(path, row) for path, row in message.nodes if path in question.nodes]
            believed.update({row: question.nodes.pop(path) for path, row in nodes})
            stage = CopyStage(message.sequence, nodes=tuple(nodes))
            self._answered(sender, stage, now_ms)

    def on_rows(self: Transfer, sender: int, message: TreeRows, now_ms: int) -> None:
        question = self._question(sender, message.sequence)
        if question is not None:
            rows = [(key, row) for key, row in message.rows if tree.hash_key(key) in question.rows]
            believed.update(
                {
                    tree.hash_key(key) + row: question.rows.pop(tree.hash_key(key))
                    for key, row in rows
                }
            )
            self._answered(sender, CopyStage(message.sequence, rows=tuple(rows)), now_ms)

    def node_digest(row: bytes) -> bytes:
        return believed.get(row) or tree.node_digest(row)

    def hash_entry(key_hash: bytes, value: bytes) -> bytes:
        return believed.get(key_hash + value) or tree.hash_entry(key_hash, value)

    return [
        (Transfer, "on_nodes", on_nodes),
        (Transfer, "on_rows", on_rows),
        (copying, "node_digest", node_digest),
        (copying, "hash_entry", hash_entry),
    ]


PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant
    for plant in (
        quorum_minus_one,
        count_duplicate_votes,
        ignore_digest,
        count_primary_prepare,
        no_persist_before_send,
        own_vote_before_durable,
        execute_twice,
        no_watermark,
        execute_over_gaps,
        forget_votes_on_restart,
        never_repeat,
        never_fetch,
        install_unchecked,
    )
} | SUSPICION_PLANTS


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the time of the block."""
    patches = PLANTS[name]()
    before = [(owner, attribute, vars(owner)[attribute]) for owner, attribute, _ in patches]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
