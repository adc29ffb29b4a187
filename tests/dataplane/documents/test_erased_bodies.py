"""What a person was erased from is nowhere any more once that is said: not in a segment either."""

from pathlib import Path

import pytest

from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Delete,
    Maintain,
    Op,
    OpResult,
    Put,
    Warm,
    encode_op,
)
from dataplane.documents.remains import SWEPT_MAX
from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import directory_of
from dataplane.documents.subjects import subject_hash
from dataplane.documents.tables import DEAD, DEAD_IN, SEGMENT, decode_segment, key_numbers
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import RocksStore
from dataplane.storage.erasure import fragment_bytes
from dataplane.storage.fragments import FRAGMENT, fragment_key, unpack
from dataplane.wire.stubs import stub_of
from tests.dataplane.documents.index_checks import (
    Machine,
    Sent,
    check_clean,
    check_segments,
    cold_places,
    tick,
    warming,
)
from tests.dataplane.documents.member_group import member
from tests.dataplane.storage.ciphers import found_in

ID, SALT = b"e" * 16, b"s" * 16
BEGIN = EraseBegin(ID, subject_hash(SALT, "ada"), SALT)
STEP, END = EraseStep(ID, "c", ("hers",)), EraseEnd(ID)
COLD_S = 100
SECRET = "3f9a1c77e0b2465d8890fedcba0a5be1"
"""Nothing that compresses: it is found wherever it is."""
OTHERS = [f"other{n}" for n in range(6)]


def put(name: str, who: str, **more: object) -> Put:
    return Put("c", name, pack_document({"who": who, "text": "x" * 60, **more}))


def begin(machine: Machine) -> None:
    machine.apply(
        CollectionPut("c", pack_document({"tiering": {"cold_after_s": COLD_S}, "subject": "who"}))
    )
    machine.apply(put("hers", "ada", secret=SECRET), *[put(name, "bob") for name in OTHERS])


def pass_time(machine: Machine, seconds: int = COLD_S + 10) -> None:
    machine.now_ms += 1000 * seconds
    tick(machine)


def warm(machine: Machine, name: str = "hers", *, rests: bool = False) -> Warm:
    return warming(machine.store, machine.state, "c", name, rests=rests)


def put_back(machine: Machine, number: int) -> list[OpResult]:
    """Do what a gateway does to have a segment made anew."""
    record = machine.state.tiers.segment(number)
    assert record is not None
    packed = machine.store.get(fragment_key(record.collection, number))
    segment = unpack(packed or b"", record.size)
    assert segment is not None
    left = []
    for entry in directory_of(segment):
        stub = stub_of(machine.state.view.row("c", entry.id) or b"")
        if stub is not None and stub.segment == number:
            left.append(warm(machine, entry.id, rests=True))
    return machine.apply(*left)


def holders(machine: Machine) -> list[int]:
    """Return the segments that have the secret."""
    found = []
    for key, row in machine.store.iterate(SEGMENT):
        number, described = key_numbers(key)[0], decode_segment(row)
        packed = machine.store.get(fragment_key(described.collection, number))
        if SECRET.encode() in (unpack(packed or b"", described.size) or b""):
            found.append(number)
    return found


def came_back(machine: Machine) -> None:
    machine.apply(warm(machine))


def is_cold(_: Machine) -> None:
    """It is erased where it is."""


def was_changed(machine: Machine) -> None:
    machine.apply(put("hers", "ada"))


def went_again(machine: Machine) -> None:
    machine.apply(warm(machine), warm(machine, "other0"))
    pass_time(machine)
    machine.apply(warm(machine))


def was_deleted(machine: Machine) -> None:
    machine.apply(Delete("c", "hers"))
    machine.apply(put("hers", "ada"))


@pytest.mark.parametrize("before", [is_cold, came_back, was_changed, went_again, was_deleted])
def test_an_erasure_is_over_when_no_segment_has_a_body_of_the_document_any_more(before):
    machine = Machine()
    begin(machine)
    pass_time(machine)
    before(machine)
    holding = holders(machine)
    assert len(holding) == (2 if before is went_again else 1)
    asked = [warm(machine)] if before is is_cold else []

    machine.apply(BEGIN)
    *_, step, end = machine.apply(*asked, STEP, END)
    assert step.version == 1
    assert (end.status, end.code) == (503, "not_ready"), "in the same batch nobody knows yet"
    machine.reopen()
    assert machine.state.view.erasing.holding(ID) == holding
    assert machine.apply(END)[0].code == "not_ready"
    for number in holding:
        put_back(machine, number)
        check_segments(machine.store)
    assert holders(machine) == []
    assert machine.apply(END)[0].status == 200
    assert machine.state.tiers.erased == {}
    pass_time(machine)
    assert {name for _, name in cold_places(machine.state)} == {*OTHERS}
    check_clean(machine.store)
    check_segments(machine.store)


def test_other_segments_are_left_alone_and_other_erasures_wait_for_their_own():
    machine = Machine()
    begin(machine)
    pass_time(machine)
    machine.apply(put("late", "bob"), warm(machine, "other0"), put("his", "bob"))
    pass_time(machine)
    first, second = [record.number for record in machine.state.tiers.segments(0, 10)]
    other = EraseBegin(b"o" * 16, subject_hash(b"t" * 16, "bob"), b"t" * 16)
    machine.apply(BEGIN, other, warm(machine, "late"))
    machine.apply(EraseStep(other.id, "c", ("late",)))
    machine.apply(warm(machine), STEP)
    assert machine.state.tiers.erased.keys() == {first, second}
    assert machine.state.view.erasing.holding(other.id) == [second]
    put_back(machine, second)
    assert machine.apply(EraseEnd(other.id))[0].status == 200
    assert machine.state.view.erasing.holding(ID) == [first]


def test_what_was_never_cold_is_erased_at_once():
    machine = Machine()
    begin(machine)
    machine.apply(BEGIN)
    machine.apply(STEP)
    assert machine.apply(END)[0].status == 200


def test_what_is_noted_of_a_segment_goes_with_it_a_bounded_amount_at_a_time(monkeypatch):
    monkeypatch.setattr("dataplane.documents.remains.SWEPT_MAX", 2)
    assert SWEPT_MAX > 2
    machine = Machine()
    begin(machine)
    pass_time(machine)
    machine.apply(*[Delete("c", name) for name in OTHERS])
    assert len(list(machine.store.iterate(DEAD))) == 6
    machine.apply(Delete("c", "hers"))
    counts = []
    while machine.state.maintenance.is_due(machine.now_ms):
        counts.append(len(list(machine.store.iterate(DEAD_IN))))
        machine.reopen()
        machine.apply(Maintain())
    assert counts == [6, 4, 2]
    check_clean(machine.store)
    check_segments(machine.store)


def test_a_dropped_collection_holds_up_no_erasure():
    machine = Machine()
    begin(machine)
    pass_time(machine)
    machine.apply(BEGIN, warm(machine))
    machine.apply(STEP)
    machine.apply(CollectionDrop("c"))
    assert machine.apply(END)[0].code == "not_ready"
    assert machine.apply(END)[0].status == 200
    assert list(machine.store.iterate(SEGMENT)) == list(machine.store.iterate(FRAGMENT)) == []
    pass_time(machine)
    assert list(machine.store.iterate(DEAD)) == list(machine.store.iterate(DEAD_IN)) == []


# --- On the disks of four -----------------------------------------------------------------------


class Member:
    """A replica on a disk of its own."""

    def __init__(self, path: Path, number: int, genesis: Genesis) -> None:
        self.path = path
        self.store = RocksStore(path)
        self.state = StateMachine(self.store, genesis, member=number)

    def apply(self, now_ms: int, requests: list[Sent]) -> bytes:
        self.state.apply(self.state.applied + 1, now_ms, requests)
        root = self.state.root()
        self.state.copies.mark(self.state.applied, root)
        self.state.copies.retain(self.state.applied)
        return root

    def fragments(self) -> list[bytes]:
        found = []
        for record in self.state.tiers.segments(0, 100):
            packed = self.store.get(fragment_key(record.collection, record.number))
            found.append(unpack(packed or b"", fragment_bytes(record.size, record.k)) or b"")
        return found


class Four(Machine):
    """Four replicas that do what one of nobody does, which knows all bodies."""

    def __init__(self, path: Path) -> None:
        genesis = Genesis(members=tuple(member(number) for number in range(1, 5)))
        self.members = [Member(path / f"{number}", number, genesis) for number in range(1, 5)]
        super().__init__(genesis=genesis)

    def apply(self, *ops: Op) -> list[OpResult]:
        number = self.state.applied
        sent = [Sent(tuple(map(encode_op, ops)), number, max(0, number - 1))] if ops else []
        results = super().apply(*ops)
        roots = {member.apply(self.now_ms, sent) for member in self.members}
        assert roots == {self.state.root()}
        return results


def pieces(secret: str) -> list[bytes]:
    """Return what shows that a part of it is there: a fragment may end in its middle."""
    return [secret[: len(secret) // 2].encode(), secret[len(secret) // 2 :].encode()]


def test_no_disk_has_a_piece_of_an_erased_body_once_its_deleted_rows_are_compacted(tmp_path):
    four = Four(tmp_path)
    begin(four)
    pass_time(four)
    shown = [b"".join(member.fragments()) for member in four.members]
    assert any(piece in shown[0] + shown[1] for piece in pieces(SECRET)), "the code is systematic"
    four.apply(BEGIN, warm(four))
    four.apply(STEP)
    for number in four.state.view.erasing.holding(ID):
        put_back(four, number)
    assert four.apply(END)[0].status == 200
    for member_ in four.members:
        assert not any(
            piece in fragment for fragment in member_.fragments() for piece in pieces(SECRET)
        )
    # What the change feed keeps is forgotten after a day, and the journal at the next checkpoints.
    pass_time(four, 25 * 3600)
    for _ in range(4):
        four.apply(put("other0", "bob"))
    for member_ in four.members:
        held = list(member_.store.iterate(b""))
        assert not any(piece in value for _, value in held for piece in pieces(SECRET))
        member_.state.copies.close()
        member_.store._db.compact_range(None, None)
        member_.store.close()
        assert not found_in(member_.path, *pieces(SECRET))
