"""Segments that leave for the archive: by the word of enough members, and of nobody else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents import tiering
from dataplane.documents.archive_commands import ArchiveSalt, ArchiveSeen
from dataplane.documents.archive_rows import ARCHIVE_LEFT, salt_key
from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Delete,
    Maintain,
    Op,
    OpenSession,
    OpResult,
    Put,
    Warm,
    decode_result,
    encode_op,
    session_id,
)
from dataplane.documents.copying import StateCopy
from dataplane.documents.placement import Placement
from dataplane.documents.state import StateMachine
from dataplane.documents.subjects import subject_hash
from dataplane.documents.tables import SEGMENT
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from dataplane.storage.fragments import FRAGMENT, fragment_key
from tests.dataplane.documents.index_checks import (
    START_MS,
    Sent,
    check_clean,
    check_segments,
)
from tests.dataplane.documents.member_group import member

COLD_S, ARCHIVE_S = 100, 1_000
LONG = "x" * 100
STRANGER = b"s" * 32


def tiered(name: str = "c", *, archive: int | None = ARCHIVE_S, **more: object) -> CollectionPut:
    policy = {"cold_after_s": COLD_S}
    if archive is not None:
        policy["archive_after_s"] = archive
    return CollectionPut(name, pack_document({"tiering": policy, **more}))


class Members:
    """Replicas of a cluster that execute the same batches."""

    def __init__(self, count: int) -> None:
        self.genesis = Genesis(members=tuple(map(member, range(1, count + 1))))
        self.stores = {number: MemoryStore() for number in range(1, count + 1)}
        self.states = {number: self._open(number) for number in self.stores}
        self.keys = {known.id: known.gateway_key for known in self.genesis.members}
        self.keys[0] = STRANGER
        self.now_ms = START_MS
        for by in self.keys:
            self.apply(OpenSession(b"n"), by=by)

    def _open(self, number: int) -> StateMachine:
        return StateMachine(self.stores[number], self.genesis, member=number)

    @property
    def state(self) -> StateMachine:
        return self.states[1]

    def apply(self, *ops: Op, by: int = 1) -> list[OpResult]:
        key = self.keys[by]
        number = self.state.applied
        sent = Sent(
            tuple(map(encode_op, ops)),
            number if not isinstance(ops[0], OpenSession) else 0,
            client=key,
            session=session_id(key, b"n"),
        )
        answers = [
            state.apply(number + 1, self.now_ms, [sent]).requests[0].results
            for state in self.states.values()
        ]
        assert all(answer == answers[0] for answer in answers)
        assert len({state.root() for state in self.states.values()}) == 1
        return list(map(decode_result, answers[0]))

    def reopen(self) -> None:
        self.states = {number: self._open(number) for number in self.stores}

    def seal(self, *names: str, collection: str = "c") -> int:
        """Make documents and let them become cold; return the number of their segment."""
        documents = [Put(collection, name, pack_document({"text": LONG})) for name in names]
        self.apply(*documents)
        self.now_ms += (COLD_S + 60) * 1000
        self.apply(Maintain())
        return self.numbers()[-1]

    def leave(self, *names: str, **more: object) -> int:
        """Make a segment that is leaving for the archive."""
        self.apply(tiered(**more))
        number = self.seal(*names)
        self.now_ms += (ARCHIVE_S - COLD_S) * 1000
        self.apply(Maintain())
        return number

    def archive(self, *names: str, **more: object) -> int:
        number = self.leave(*names, **more)
        for by in self.stores:
            self.apply(ArchiveSeen((number,)), by=by)
        return number

    def numbers(self) -> list[int]:
        return [record.number for record in self.state.tiers.segments(0, 1_000)]

    def tier(self, number: int) -> str:
        tiers = {state.tiers.segment(number).tier for state in self.states.values()}
        assert len(tiers) == 1
        return tiers.pop()

    def fragments(self) -> list[int]:
        return [len(list(store.iterate(FRAGMENT))) for store in self.stores.values()]

    def wanted(self) -> list[int]:
        return [record.number for record in self.state.view.archiving.wanted()]

    def left(self) -> list[int]:
        return [number for number, _ in self.state.view.archiving.left(100)]


def test_a_segment_is_leaving_once_its_time_is_over_in_agreed_time_and_no_sooner():
    members = Members(1)
    members.apply(tiered())
    number = members.seal("a", "b")
    members.now_ms += (ARCHIVE_S - COLD_S) * 1000 - 1
    assert not members.state.maintenance.is_due(members.now_ms)
    members.apply(Maintain())
    assert members.wanted() == []
    assert members.apply(ArchiveSeen((number,)))[0].status == 200
    assert members.tier(number) == "distributed", "it is not due"
    members.now_ms += 1
    assert members.state.maintenance.is_due(members.now_ms)
    members.apply(Maintain())
    assert members.wanted() == [number]
    assert not members.state.maintenance.is_due(members.now_ms)
    members.reopen()
    assert members.wanted() == [number]
    assert not members.state.maintenance.is_due(members.now_ms)


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (3, 1), (4, 2), (7, 3)])
def test_fragments_go_with_the_word_of_more_members_than_may_lie(count, needed):
    members = Members(count)
    number = members.leave("a", "b")
    for by in range(1, needed):
        members.apply(ArchiveSeen((number, number)), ArchiveSeen((number,)), by=by)
        members.apply(ArchiveSeen((number,)), by=by)
        members.reopen()
        assert members.state.tiers.segment(number).attested == tuple(range(1, by + 1))
        assert members.tier(number) == "distributed"
        assert members.fragments() == [1] * count
    members.apply(ArchiveSeen((number,)), by=needed)
    assert members.tier(number) == "archive"
    assert members.fragments() == [0] * count
    assert members.wanted() == []
    collection = members.state.view.collection("c")
    assert collection is not None
    assert (collection.distributed[0], collection.archived[0]) == (0, 2)
    members.reopen()
    assert members.state.view.collection("c") == collection


def test_members_that_change_have_nothing_to_do_with_what_is_archived(monkeypatch):
    members = Members(4)
    members.archive("a", "b")
    leaving, waiting = members.leave("c"), members.seal("d")
    tiers, read = members.state.tiers, []
    held = {tiers.placement.present: 2}
    monkeypatch.setattr(Placement, "misplaced", held)
    decode = tiering.decode_segment
    monkeypatch.setattr(tiering, "decode_segment", lambda row: read.append(row) or decode(row))
    assert [record.number for record in tiers.misplaced()] == [leaving, waiting]
    assert len(read) == 2, "the archive may have more than there is time to look at"


def test_one_liar_never_drops_a_fragment_however_often_it_says_so():
    members = Members(4)
    number = members.leave("a")
    for _ in range(5):
        members.apply(*[ArchiveSeen((number,))] * 3, by=3)
    results = members.apply(ArchiveSeen((number,)), by=0)
    assert (results[0].status, results[0].code) == (403, "forbidden")
    assert members.tier(number) == "distributed"
    assert members.fragments() == [1] * 4


def test_what_is_told_of_segments_that_are_not_leaving_changes_nothing():
    members = Members(1)
    members.apply(tiered(archive=None))
    number = members.seal("a")
    told = ArchiveSeen((number, 0, 10**30, -1, 999), (number, 0, 10**30, -1, 999))
    before = dict(members.stores[1].iterate(SEGMENT))
    with pytest.raises(OverflowError):
        encode_op(told)
    told = ArchiveSeen((number, 0, 2**63, -1, 999), (number, 0, 2**63, -1, 999))
    assert members.apply(told)[0].status == 200
    assert dict(members.stores[1].iterate(SEGMENT)) == before
    assert members.apply(ArchiveSeen(tuple(range(65))))[0].status == 422


def test_an_archived_document_comes_back_by_its_stub_and_its_object_is_queued():
    members = Members(4)
    number = members.leave("a", "b")
    bodies = [Warm("c", name, 1, pack_document({"text": LONG})) for name in ("a", "b")]
    for by in (1, 2):
        members.apply(ArchiveSeen((number,)), by=by)
    members.apply(bodies[0])
    assert members.tier(number) == "archive"
    assert members.left() == []
    members.apply(bodies[1])
    assert members.numbers() == []
    assert members.left() == [number]
    record = members.state.view.get("c", "a")
    assert record is not None
    assert record.body == pack_document({"text": LONG})


def test_what_is_left_is_forgotten_when_enough_members_saw_it_gone():
    members = Members(4)
    number = members.archive("a")
    members.apply(Delete("c", "a"))
    assert members.left() == [number]
    members.apply(ArchiveSeen((), (number,)), ArchiveSeen((), (number,)), by=2)
    members.reopen()
    assert members.left() == [number]
    assert not members.state.view.archiving.is_garbage(number)
    members.apply(ArchiveSeen((), (number,)), by=4)
    assert members.left() == []
    archiving = members.state.view.archiving
    assert archiving.is_garbage(number)
    assert not archiving.is_garbage(members.state.applied + 1), "it may come yet"
    assert not archiving.is_garbage(members.seal("b"))
    assert list(members.stores[1].iterate(ARCHIVE_LEFT)) == []


def test_a_segment_that_dies_on_its_way_is_queued_and_one_before_that_is_not():
    members = Members(1)
    number = members.leave("a")
    members.apply(Delete("c", "a"))
    assert members.left() == [number]
    assert members.wanted() == []
    assert members.apply(ArchiveSeen((number,)))[0].status == 200
    other = members.seal("b")
    members.apply(Delete("c", "b"))
    assert other not in members.left()


def test_a_dropped_collection_leaves_all_its_objects_in_the_queue():
    members = Members(1)
    numbers = [members.archive("a", "b")]
    numbers.append(members.leave("c"))
    members.apply(CollectionDrop("c"))
    members.apply(Maintain())
    assert members.left() == numbers
    assert members.state.tiers.marked == {}
    assert members.state.tiers.waiting == {}


def test_a_policy_that_ends_leaves_everything_where_it_is_until_it_comes_back():
    members = Members(1)
    number = members.leave("a")
    members.apply(tiered(archive=None))
    assert members.wanted() == []
    second = members.seal("b")
    members.now_ms += 10_000_000
    assert not members.state.maintenance.is_due(members.now_ms)
    members.apply(tiered(archive=500))
    members.apply(Maintain())
    assert members.wanted() == [number, second]


def test_an_erasure_is_not_over_before_the_objects_that_hold_the_person_are_gone():
    members = Members(4)
    number = members.archive("a", "b", subject="text")
    erasure, salt = b"e" * 16, b"s" * 16
    members.apply(EraseBegin(erasure, subject_hash(salt, LONG), salt))
    body = pack_document({"text": LONG})
    members.apply(Warm("c", "a", 1, body))
    members.apply(EraseStep(erasure, "c", ("a",)))
    erasing = members.state.view.erasing
    assert erasing.holding(erasure) == [number]
    members.apply(Warm("c", "b", 1, body, rests=True))
    assert members.left() == [number]
    members.reopen()
    assert members.apply(EraseEnd(erasure))[0].code == "not_ready", "the object is there still"
    for by in (1, 2):
        assert members.state.view.erasing.holding(erasure) == [number]
        members.apply(ArchiveSeen((), (number,)), by=by)
    assert members.apply(EraseEnd(erasure))[0].status == 200


def test_only_members_give_a_salt_the_first_stays_and_the_drop_takes_it():
    members = Members(4)
    members.apply(tiered("plain"))
    members.apply(tiered(shreddable=True))
    numbers = {"c": 2, "plain": 1}
    salt, other = bytes(range(32)), b"o" * 32
    archiving = members.state.view.archiving
    assert archiving.needs_salt(2)
    assert archiving.salt_of(1) == b""
    assert members.apply(ArchiveSalt(2, salt), by=0)[0].status == 403
    assert members.apply(ArchiveSalt(2, b"short"))[0].status == 422
    assert members.apply(ArchiveSalt(numbers["plain"], salt))[0].status == 404
    assert archiving.salt_of(2) is None
    members.apply(ArchiveSalt(2, salt))
    members.apply(ArchiveSalt(2, other), by=2)
    assert archiving.salt_of(2) == salt
    members.apply(CollectionDrop("c"))
    assert members.stores[1].get(salt_key(2)) is None
    assert not archiving.needs_salt(2)
    assert archiving.salt_of(2) is None, "and nothing is sealed for it any more"


def test_who_is_nobody_keeps_whole_segments_of_the_archive_too():
    members = Members(1)
    members.stores[1] = MemoryStore()
    members.states[1] = StateMachine(members.stores[1], members.genesis)
    for by in members.keys:
        members.apply(OpenSession(b"n"), by=by)
    number = members.archive("a", "b")
    assert members.tier(number) == "archive"
    assert members.fragments() == [1]
    check_segments(members.stores[1])
    check_clean(members.stores[1])
    members.apply(Delete("c", "a"), Delete("c", "b"))
    assert members.fragments() == [0]


def test_a_state_that_was_copied_takes_fragments_of_archived_segments_along():
    members = Members(1)
    number = members.archive("a")
    record = members.state.tiers.segment(number)
    assert record is not None
    key = fragment_key(record.collection, number)
    members.stores[1].write({key: b"\0old"})
    StateCopy(members.stores[1])._prune()
    assert members.stores[1].get(key) is None


@settings(max_examples=40)
@given(
    st.lists(
        st.sampled_from(["put", "delete", "warm", "time", "maintain", "seen", "gone", "drop"]),
        max_size=40,
    )
)
def test_whatever_happens_what_is_counted_is_what_is_there(steps):
    members = Members(4)
    members.apply(tiered())
    for at, step in enumerate(steps):
        by = at % 4 + 1
        name = f"d{at % 5}"
        if step == "put":
            members.apply(Put("c", name, pack_document({"text": LONG, "n": at})), by=by)
        elif step == "delete":
            members.apply(Delete("c", name), by=by)
        elif step == "warm":
            row = members.state.view.row("c", name)
            if row is not None:
                members.apply(Warm("c", name, int.from_bytes(row[:8], "little"), b"\x80"), by=by)
        elif step == "time":
            members.now_ms += 500_000
        elif step == "maintain":
            members.apply(Maintain(), by=by)
        elif step == "seen":
            members.apply(ArchiveSeen(tuple(members.wanted()[:8])), by=by)
        elif step == "gone":
            members.apply(ArchiveSeen((), tuple(members.left()[:8])), by=by)
        else:
            members.apply(CollectionDrop("c"), tiered(), by=by)
        check_counts(members)


def check_counts(members: Members) -> None:
    """Compare what replicas hold in memory with what they hold when they begin anew."""
    known = members.state.tiers
    fresh = members._open(1).tiers
    assert (known.waiting, known.marked, known._held) == (fresh.waiting, fresh.marked, fresh._held)
    here = [r.number for r in known.segments(0, 1_000) if r.tier == "distributed"]
    for store in members.stores.values():
        assert [int.from_bytes(key[5:], "big") for key, _ in store.iterate(FRAGMENT)] == here
    assert not set(members.left()) & set(members.numbers())
    assert known.left == fresh.left
    assert sorted(known.left) == members.left()
