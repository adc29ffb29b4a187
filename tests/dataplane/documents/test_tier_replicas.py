"""Replicas that begin anew, or take over the state of another, stay equal to those that do not."""

import msgspec
import pytest

from dataplane.documents.archive_commands import ArchiveSeen
from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.commands import Op, OpenSession, Warm, decode_result, encode_op, session_id
from dataplane.documents.determinism import (
    GENESIS,
    START_MS,
    LogMaker,
    Sent,
    Stream,
    restore_of,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import COLD_RESULT
from dataplane.documents.subjects import subject_hash
from dataplane.documents.tables import DEAD, HEADER_BYTES, dead_prefix
from dataplane.documents.values import unpack_document
from dataplane.documents.whole_rows import whole_row
from dataplane.storage import erasure
from dataplane.storage.engine import MemoryStore
from dataplane.storage.fragments import FRAGMENT, fragment_key, unpack
from dataplane.wire.stubs import is_stub, stub_of
from tests.dataplane.documents.index_checks import (
    check_rows,
    check_segments,
    cold_places,
    warming,
    warmings,
)
from tests.dataplane.documents.member_group import member
from tests.dataplane.documents.test_copying import fetch
from tests.dataplane.documents.test_tier_kills import Source

OF_FOUR = msgspec.structs.replace(GENESIS, members=tuple(member(number) for number in range(1, 5)))
BATCHES = 150
STEADY, RESTARTED, COPIED = 1, 2, 3


class Replica:
    """A state of a member, or of nobody, and whether it has every fragment of its own."""

    def __init__(self, member: int | None) -> None:
        self.member = member
        self.store = MemoryStore()
        self.has_all = True
        self.reopen()

    def reopen(self) -> None:
        self.state = StateMachine(self.store, OF_FOUR, member=self.member)

    def copy_of(self, other: "Replica") -> None:
        """Take over a state; fragments of what was sealed elsewhere have to be rebuilt."""
        sequence, root = other.state.applied, other.state.root()
        other.state.copies.mark(sequence, root)
        fetch(Source(other.state.copies), self.state.copies, sequence, root)
        assert self.state.copies.install(sequence, root)
        other.state.copies.retain(sequence)
        self.has_all = False

    def check_fragments(self) -> None:
        """It has its own fragment of each segment that it sealed, and none of what is gone."""
        assert self.member is not None
        known = set()
        for record in self.state.tiers.segments(0, 1_000):
            key = fragment_key(record.collection, record.number)
            known.add(key)
            packed = self.store.get(key)
            if record.tier == "archive":
                assert packed is None
                continue
            if packed is None:
                assert not self.has_all
                continue
            fragment = unpack(packed, erasure.fragment_bytes(record.size, record.k))
            assert fragment is not None
            place = record.members.index(self.member)
            assert erasure.is_sound(fragment, place, record.fragments)
        assert {key for key, _ in self.store.iterate(FRAGMENT)} <= known


class Replicas:
    """The same log for all; the one of nobody knows all bodies."""

    def __init__(self, seed: int) -> None:
        self.maker, self.draw = LogMaker(seed, 0), Stream(b"replicas%d" % seed)
        self.knowing = Replica(None)
        self.others = [Replica(number) for number in (STEADY, RESTARTED, COPIED)]
        self.now_ms = START_MS
        self.requests = 0
        self.seen: dict[str, int] = {}
        self.begun: list[bytes] = []
        """Erasures."""
        self.told = [0] * len(OF_FOUR.members)
        """How often the gateway of each member told what it saw in the archive."""
        self.request((encode_op(OpenSession(b"nonce")),))
        self.apply([self.tells(place, OpenSession(b"n")) for place in range(len(self.told))])

    def tells(self, place: int, operation: Op) -> Sent:
        """Return the next request of the gateway of a member."""
        client = OF_FOUR.members[place].gateway_key
        number = self.told[place]
        self.told[place] += 1
        session = session_id(client, b"n")
        return Sent(number, max(0, number - 1), (encode_op(operation),), client, session)

    def archiving(self) -> list[Sent]:
        """Return what some members say that they saw in the archive, or gone from it."""
        archiving, draw = self.knowing.state.view.archiving, self.draw
        stored = tuple([record.number for record in archiving.wanted() if draw.below(2)])
        gone = tuple([number for number, _ in archiving.left(100) if draw.below(2)])
        if not stored and not gone:
            return []
        self.count("archived", len(stored))
        self.count("gone", len(gone))
        places = [place for place in range(len(self.told)) if draw.below(2)]
        return [self.tells(place, ArchiveSeen(stored, gone)) for place in places]

    def request(self, ops: tuple[bytes, ...]) -> None:
        number = self.requests
        self.requests += 1
        others = self.archiving() if number else []
        self.apply([Sent(number, max(0, number - 1), ops), *others])

    def apply(self, sent: list[Sent]) -> None:
        """Execute a batch everywhere, and compare everything that can be seen."""
        number = self.knowing.state.applied + 1
        self.now_ms += self.draw.below(20_000) if number > 2 else 0
        answers = self.knowing.state.apply(number, self.now_ms, sent).requests
        for replica in self.others:
            own = replica.state.apply(number, self.now_ms, sent).requests
            assert own == answers, (number, replica.member)
        for result in map(decode_result, answers[0].results):
            if result.conflict is not None:
                self.maker.conflicts.append(result.conflict)
            if result == COLD_RESULT:
                self.count("cold")
        self.maker.revision = self.knowing.state.view.compliance.row.revision
        root = self.knowing.state.root()
        assert {replica.state.root() for replica in self.others} == {root}, number
        self.look()

    def count(self, what: str, number: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + number

    def look(self) -> None:
        state = self.knowing.state
        self.count("sealed", state.tiers.segment(state.applied) is not None)
        self.count("erased", bool(state.tiers.erased))
        self.count("remains", any(True for _ in self.knowing.store.iterate(DEAD)))

    def disturb(self) -> None:
        """End and begin one, and let another take over a state."""
        _, restarted, copied = self.others
        if self.draw.below(3) == 0:
            restarted.reopen()
        if self.draw.below(12) == 0:
            if self.draw.below(2):
                copied.store = MemoryStore()
                copied.reopen()
            copied.copy_of(self.knowing if self.draw.below(2) else restarted)

    def warmings(self) -> list[Warm]:
        """Return what a gateway may order: bodies back that somebody wants, or nobody does."""
        store, state, draw = self.knowing.store, self.knowing.state, self.draw
        back: list[Warm] = []
        if state.applied < 2 or (state.view.restore() is not None and draw.below(2)):
            return back
        places = cold_places(state)
        if places and draw.below(2) == 0:
            back.append(warming(store, state, *draw.pick(places)))
        if draw.below(2) == 0:
            back += warmings(store, state)
        unwanted = [*state.tiers.erased, *sorted(state.tiers.half_empty)]
        for number in unwanted if draw.below(3) == 0 else ():
            for place in places:
                stub = stub_of(state.view.row(*place) or b"")
                if stub is not None and stub.segment == number:
                    back.append(warming(store, state, *place, rests=True))
        return back

    def is_dead_somewhere(self, name: str, document_id: str) -> bool:
        """Whether an earlier body of a document lies in a segment."""
        key = self.knowing.state.view.key_of(name, document_id)
        return any(True for _ in self.knowing.store.iterate(dead_prefix(key or b"")))

    def erasing(self) -> list[Op]:
        """Return what erases whoever some document is about, as far as is known."""
        store, view, draw = self.knowing.store, self.knowing.state.view, self.draw
        rows = [
            (name, key.decode(), whole_row(store.get, row))
            for name in (view.erasing.fields() if view.restore() is None else ())
            for key, row in view.rows(name)
            if is_stub(row) or self.is_dead_somewhere(name, key.decode())
        ]
        if not rows or draw.below(3) == 0:
            return []
        name, document_id, row = draw.pick(rows)
        person = unpack_document(row[HEADER_BYTES:]).get("n")
        if type(person) not in {str, int}:
            return []
        own = draw.below(2**32).to_bytes(16, "big")
        ops: list[Op] = [EraseBegin(own, subject_hash(own, person), own)]
        if draw.below(4):
            ops.append(warming(store, self.knowing.state, name, document_id))
        ops.append(EraseStep(own, name, (document_id,)))
        self.begun.append(own)
        return ops

    def operations(self) -> tuple[bytes, ...]:
        ends = [EraseEnd(own) for own in self.begun[-3:] if self.draw.below(3) == 0]
        own = [*self.warmings(), *self.erasing(), *ends]
        return (*self.maker.operations(), *map(encode_op, own))


@pytest.mark.parametrize("seed", range(40, 46))
def test_replicas_that_restart_and_that_copy_answer_alike_and_have_one_root(seed):
    replicas = Replicas(seed)
    restores = 0
    while replicas.knowing.state.applied < BATCHES:
        replicas.request(replicas.operations())
        replicas.disturb()
        if replicas.draw.below(40) == 0:
            state, store = replicas.knowing.state, replicas.knowing.store
            for op in restore_of(store, state.applied, replicas.draw):
                replicas.request((encode_op(op),))
                replicas.disturb()
            restores += 1
        for replica in replicas.others:
            replica.check_fragments()
        check_segments(replicas.knowing.store)
    if replicas.knowing.state.view.restore() is None:
        check_rows(replicas.knowing.store)
    assert replicas.seen["sealed"] > 0
    assert restores > 0


def test_the_logs_are_worth_it():
    seen: dict[str, int] = {}
    for seed in range(40, 46):
        replicas = Replicas(seed)
        for _ in range(BATCHES // 2):
            replicas.request(replicas.operations())
        for what, number in replicas.seen.items():
            seen[what] = seen.get(what, 0) + number
    assert (
        min(
            seen.get(what, 0)
            for what in ("sealed", "cold", "remains", "erased", "archived", "gone")
        )
        > 0
    ), seen
