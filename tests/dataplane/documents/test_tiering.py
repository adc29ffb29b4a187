"""Documents that become cold and come back: the same everywhere, and as documents unchanged."""

import hashlib
from itertools import combinations

import pytest

from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    Get,
    IndexPut,
    Maintain,
    Patch,
    Put,
    Transact,
    Update,
    Warm,
)
from dataplane.documents.stubs import COLD_RESULT, cut
from dataplane.documents.tables import SEGMENT
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document, unpack_document
from dataplane.storage import erasure
from dataplane.storage.fragments import FRAGMENT, fragment_key, unpack
from dataplane.wire.stubs import is_stub, stub_of
from tests.dataplane.documents.index_checks import (
    Machine,
    check_clean,
    check_segments,
    cold_places,
    tick,
    warming,
)
from tests.dataplane.documents.member_group import member

COLD_S = 100
LONG = "x" * 100


def tiered(**more: object) -> CollectionPut:
    return CollectionPut("c", pack_document({"tiering": {"cold_after_s": COLD_S}, **more}))


def put(document_id: str, **fields: object) -> Put:
    return Put("c", document_id, pack_document({"text": LONG, **fields}))


def row(machine: Machine, document_id: str) -> bytes:
    found = machine.state.view.row("c", document_id)
    assert found is not None
    return found


def is_cold(machine: Machine, document_id: str) -> bool:
    return is_stub(row(machine, document_id))


def pass_time(machine: Machine, seconds: float = COLD_S + 10) -> None:
    machine.now_ms += int(seconds * 1000)
    tick(machine)


def cold_machine(*documents: Put, **options: object) -> Machine:
    machine = Machine()
    machine.apply(tiered(**options))
    machine.apply(*documents or [put("a", n=1), put("b", n=2)])
    pass_time(machine)
    return machine


def warm(machine: Machine, document_id: str) -> Warm:
    return warming(machine.store, machine.state, "c", document_id)


def test_what_was_not_touched_for_its_time_becomes_cold_together_and_nothing_else_does():
    machine = Machine()
    machine.apply(tiered())
    machine.apply(put("a"), put("b"), Put("c", "short", pack_document({"n": 1})))
    machine.apply(Put("d", "plain", pack_document({"text": LONG})))
    machine.now_ms += 50_000
    machine.apply(put("b", again=1))
    before = machine.state.view.stats()

    machine.now_ms += COLD_S * 500 + 9_999
    assert not machine.state.maintenance.is_due(machine.now_ms), "it waits for others"
    machine.now_ms += 1
    tick(machine)

    assert cold_places(machine.state) == [("c", "a")]
    assert machine.state.view.stats().documents == before.documents
    collection = machine.state.view.collection("c")
    assert collection is not None
    assert collection.documents == 3
    pass_time(machine, 50)
    assert cold_places(machine.state) == [("c", "a"), ("c", "b")]
    assert [record.documents for record in machine.state.tiers.segments(0, 10)] == [1, 1]
    check_clean(machine.store)
    check_segments(machine.store)


def test_an_ordinary_batch_seals_nothing():
    machine = Machine()
    machine.apply(tiered())
    machine.apply(put("a"))
    machine.now_ms += 1_000_000
    assert machine.state.maintenance.is_due(machine.now_ms)
    machine.apply(put("z"))
    assert not is_cold(machine, "a")
    machine.apply(Maintain())
    assert is_cold(machine, "a")


def test_no_segment_is_large_and_no_batch_makes_two():
    machine = Machine()
    machine.apply(tiered())
    machine.apply(*[Put("c", f"d{n}", pack_document({"t": "y" * 300_000})) for n in range(7)])
    machine.apply(*[put(f"s{n:03}") for n in range(300)])
    machine.now_ms += 1_000_000
    machine.apply(Maintain())
    assert len(machine.state.tiers.segments(0, 10)) == 1
    tick(machine)
    records = machine.state.tiers.segments(0, 100)
    assert all(record.documents <= 256 and record.size < 1_100_000 for record in records)
    assert sum(record.documents for record in records) == 307
    check_segments(machine.store)


@pytest.mark.parametrize(
    "operation",
    [
        Get("c", "a"),
        Patch("c", "a", pack_document({"m": 1})),
        Update("c", "a", pack_document({"$inc": {"n": 1}})),
        Transact((Put("c", "b", pack_document({})), Get("c", "a"))),
    ],
)
def test_what_needs_a_body_changes_nothing_until_it_is_back_and_then_is_done(operation):
    machine = cold_machine()
    before = row(machine, "a"), row(machine, "b")
    key = hashlib.sha256(b"k").digest()
    if not isinstance(operation, Get):
        operation = type(operation)(
            **{
                **{name: getattr(operation, name) for name in operation.__struct_fields__},
                "idempotency": key,
            }
        )

    assert machine.apply(operation) == [COLD_RESULT]
    assert (row(machine, "a"), row(machine, "b")) == before
    warmed, result = machine.apply(warm(machine, "a"), operation)

    assert warmed.status == 200
    assert result.status == 200
    check_clean(machine.store)
    check_segments(machine.store)


@pytest.mark.parametrize("operation", [put("a", m=1), Delete("c", "a"), Create("c", "a", b"\x80")])
def test_what_needs_no_body_is_done_at_once(operation):
    machine = cold_machine()

    (result,) = machine.apply(operation)

    assert result.status in {200, 204, 409}
    held = [record.documents for record in machine.state.tiers.segments(0, 10)]
    assert held == ([2] if isinstance(operation, Create) else [1])
    check_clean(machine.store)
    check_segments(machine.store)


def test_behind_an_operation_that_has_to_wait_others_of_its_document_wait_too():
    machine = cold_machine()

    results = machine.apply(
        Patch("c", "a", pack_document({"m": 1})), put("a", last=1), put("b", other=1)
    )

    assert results[:2] == [COLD_RESULT, COLD_RESULT]
    assert results[2].status == 200
    assert machine.apply(put("a"))[0].status == 200, "but not those of the next request"


def test_a_document_that_came_back_is_the_same_and_stays_for_its_whole_time_anew():
    machine = cold_machine()
    stub = row(machine, "a")
    machine.apply(warm(machine, "a"))
    body = unpack_document(machine.apply(Get("c", "a"))[0].document or b"")

    assert body == {"text": LONG, "n": 1}
    assert row(machine, "a")[:24] == stub[:24]
    pass_time(machine, COLD_S - 1)
    assert not is_cold(machine, "a")
    pass_time(machine, 11)
    assert is_cold(machine, "a")
    check_clean(machine.store)
    check_segments(machine.store)


def test_what_is_written_after_it_came_back_stays_from_its_last_write_on():
    machine = cold_machine()
    machine.apply(warm(machine, "a"))
    machine.now_ms += 50_000
    machine.apply(put("a", n=3))
    pass_time(machine, COLD_S - 30)
    assert not is_cold(machine, "a")
    check_clean(machine.store)
    pass_time(machine, 45)
    assert is_cold(machine, "a")
    check_clean(machine.store)


def test_one_that_nobody_asked_for_leaves_with_the_next():
    machine = cold_machine()
    asked = warm(machine, "a")
    machine.apply(Warm(asked.collection, asked.id, asked.version, asked.document, rests=True))
    assert not is_cold(machine, "a")
    pass_time(machine, 10)
    assert is_cold(machine, "a")


def test_a_gateway_that_lies_about_a_body_changes_nothing():
    machine = cold_machine()
    true = warm(machine, "a")
    before = machine.state.root()
    lie = pack_document({"text": LONG, "n": 9})

    assert machine.apply(Warm("c", "a", true.version, lie))[0].status == 422
    assert machine.apply(Warm("c", "a", true.version + 1, lie))[0].status == 200
    assert is_cold(machine, "a")
    assert machine.state.root() != before, "time went on"
    check_segments(machine.store)


def test_a_segment_vanishes_with_its_last_document_whatever_ended_it():
    machine = cold_machine(*[put(name) for name in "abcd"])
    machine.apply(Delete("c", "a"), warm(machine, "b"), put("c"))
    assert [record.documents for record in machine.state.tiers.segments(0, 10)] == [1]
    assert machine.state.tiers.half_empty == {machine.state.tiers.segments(0, 1)[0].number}
    machine.apply(CollectionDrop("c"))
    machine.apply()

    assert list(machine.store.iterate(SEGMENT)) == []
    assert list(machine.store.iterate(FRAGMENT)) == []
    assert machine.state.tiers.half_empty == set()
    check_clean(machine.store)


def test_long_ids_do_not_make_a_segment_look_empty():
    names = [f"{n}".rjust(128, "i") for n in range(4)]
    machine = cold_machine(*[Put("c", name, pack_document({"t": "x" * 60})) for name in names])
    machine.apply(Delete("c", names[0]))
    machine.reopen()
    assert machine.state.tiers.half_empty == set()
    machine.apply(*[Delete("c", name) for name in names[1:3]])
    assert len(machine.state.tiers.half_empty) == 1
    machine.reopen()
    assert len(machine.state.tiers.half_empty) == 1


def test_a_failed_transaction_takes_nothing_out_of_a_segment():
    machine = cold_machine()
    machine.apply(Transact((put("a"), Delete("c", "nothing"))))
    assert is_cold(machine, "a")
    check_segments(machine.store)


def test_an_index_waits_for_bodies_says_which_and_is_whole_in_the_end():
    machine = cold_machine(*[put(f"d{n}", n=n) for n in range(5)])
    machine.apply(IndexPut("c", "i", (("n", 1),)))
    machine.apply(Maintain())
    assert machine.state.maintenance.is_stuck
    assert len(machine.state.maintenance.wanted) == 5
    machine.reopen()
    tick(machine)
    index = machine.index()
    assert index is not None
    assert (index.state, index.entries) == ("ready", 5)
    check_clean(machine.store)
    pass_time(machine)
    assert len(cold_places(machine.state)) == 5, "and they may go again"
    check_clean(machine.store)


def test_cold_documents_expire_with_and_without_other_indexes():
    for fields in ((), (("n", 1),)):
        machine = Machine()
        machine.apply(tiered(ttl=1_000))
        if fields:
            machine.apply(IndexPut("c", "i", fields))
        machine.apply(*[put(f"d{n}", n=n) for n in range(5)])
        pass_time(machine)
        assert len(cold_places(machine.state)) == 5
        pass_time(machine, 1_000)
        assert machine.ids() == []
        check_clean(machine.store)
        check_segments(machine.store)


def test_a_policy_that_ends_leaves_what_is_cold_where_it_is():
    machine = cold_machine()
    machine.apply(CollectionPut("c", pack_document({})))
    machine.apply(put("new"))
    pass_time(machine, 10_000)
    assert cold_places(machine.state) == [("c", "a"), ("c", "b")]
    machine.apply(tiered())
    pass_time(machine, 10_000)
    assert is_cold(machine, "new")
    check_clean(machine.store)


@pytest.mark.parametrize(
    "given",
    [
        [],
        {},
        {"cold_after_s": 0},
        {"cold_after_s": True},
        {"cold_after_s": 10**12},
        {"cold_after_s": 10, "archive_after_s": 10},
        {"archive_after_s": -1},
        {"hot_after_s": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(given):
    machine = Machine()
    (result,) = machine.apply(CollectionPut("c", pack_document({"tiering": given})))
    assert (result.status, result.errors[0][0].split("/")[1]) == (422, "tiering")


# --- Several members ----------------------------------------------------------------------------


def test_every_replica_keeps_its_own_fragment_and_any_k_of_them_give_every_body_back():
    members = tuple(member(number) for number in range(1, 5))
    machines = [Machine(genesis=Genesis(members=members), member=number) for number in range(1, 5)]

    for machine in machines:
        machine.apply(tiered())
        machine.apply(*[put(f"d{n}", n=n) for n in range(20)])
        machine.now_ms += 1_000_000
        machine.apply(Maintain())
    assert len({machine.state.root() for machine in machines}) == 1
    first = machines[0]
    (record,) = first.state.tiers.segments(0, 10)
    assert (record.k, record.members, record.documents) == (2, (1, 2, 3, 4), 20)
    key = fragment_key(record.collection, record.number)
    length = erasure.fragment_bytes(record.size, record.k)
    held = {}
    for place, machine in enumerate(machines):
        packed = machine.store.get(key)
        assert packed is not None
        fragment = unpack(packed, length)
        assert fragment is not None
        assert erasure.is_sound(fragment, place, record.fragments)
        held[place] = fragment
    for places in combinations(range(4), 2):
        chosen = {place: held[place] for place in places}
        segment = erasure.decode(chosen, record.k, 4, record.size)
        assert erasure.digest(segment) == record.digest
        stub = stub_of(row(first, "d7"))
        assert stub is not None
        body = cut(segment, stub)
        assert body is not None
        assert unpack_document(body) == {"text": LONG, "n": 7}
