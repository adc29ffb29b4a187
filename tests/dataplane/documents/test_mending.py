"""A member's own fragments: what is wrong with one is found, and it is made again as it was."""

import pytest

from dataplane.documents.commands import CollectionDrop
from dataplane.documents.mending import LOOK_BYTES
from dataplane.storage.fragments import FRAGMENT
from tests.dataplane.documents.member_group import MemberGroup, fragment_of, write_fragment


@pytest.fixture
def group() -> MemberGroup:
    made = MemberGroup(1, 2, 3, 4)
    for name in "abcde":
        made.fill(name)
    assert len(made.records()) == 5
    return made


def flipped(packed: bytes) -> bytes:
    return packed[:-1] + bytes([packed[-1] ^ 1])


@pytest.mark.parametrize("damage", [flipped, lambda _: None, lambda _: b"", lambda p: p[:9]])
def test_what_is_wrong_is_found_on_the_round_and_made_again_byte_by_byte(group, damage):
    machine, record = group.machines[3], group.records()[2]
    before = fragment_of(machine, record)
    assert before is not None
    root = machine.state.root()
    write_fragment(machine, record, damage(before))

    machine.state.copies.scrub(1)

    assert machine.mending.wanted == (record.number,)
    assert machine.mending.census.missing == 1
    assert machine.mending.rebuild(record.number, group.segment(record))
    assert fragment_of(machine, record) == before
    assert machine.mending.wanted == ()
    machine.mending.look()
    census = machine.mending.census
    assert (census.held, census.missing, census.found, census.rebuilt) == (5, 0, 1, 1)
    assert machine.state.root() == root, "nothing of it is replicated"


def test_what_is_found_wrong_by_who_reads_it_is_known_at_once(group):
    machine, record = group.machines[1], group.records()[0]
    write_fragment(machine, record, None)
    assert machine.mending.own.fragment(record) is None
    assert machine.mending.own.packed(record) is None
    assert machine.mending.wanted == (record.number,)


def test_a_look_is_short_and_the_next_one_goes_on_behind_it(group):
    machine = group.machines[1]
    for seen in range(1, 5):
        machine.mending.look(1)
        assert machine.mending.census.checked == seen
        assert machine.mending.census.rounds == 0
    machine.mending.look(LOOK_BYTES)
    assert (machine.mending.census.checked, machine.mending.census.rounds) == (0, 1)


def test_a_copy_of_the_state_lacks_every_fragment_and_gets_all_of_its_own(group):
    records = group.records()
    kept = [fragment_of(group.machines[2], record) for record in records]
    machine = group.join(2)
    machine.mending.look()
    assert machine.mending.wanted == tuple(record.number for record in records)
    for record in records:
        assert machine.mending.rebuild(record.number, group.segment(record, {3, 4}))
    assert [fragment_of(machine, record) for record in records] == kept
    assert machine.mending.census.missing == 0


def test_of_a_state_that_was_just_copied_no_round_tells_yet(group):
    machine = group.machines[1]
    machine.mending.look()
    assert machine.mending.census.rounds == 1
    machine.mending.begin()
    assert machine.mending.census.rounds == 0


def test_who_holds_none_misses_none(group):
    machine = group.join(9)
    machine.mending.look()
    assert machine.mending.census.held == 0
    assert machine.mending.census.missing == 0
    assert machine.mending.census.rounds == 1
    record = group.records()[0]
    assert not machine.mending.rebuild(record.number, group.segment(record))


def test_a_segment_that_vanishes_meanwhile_gets_no_fragment(group):
    machine, record = group.machines[4], group.records()[1]
    segment = group.segment(record)
    write_fragment(machine, record, None)
    machine.mending.look()
    group.apply(CollectionDrop("c"))
    group.apply()
    assert not machine.mending.rebuild(record.number, segment)
    assert machine.mending.wanted == ()
    assert list(machine.store.iterate(FRAGMENT)) == []


def test_another_segment_is_not_written_in_its_place(group):
    machine, (record, other, *_) = group.machines[4], group.records()
    write_fragment(machine, record, None)
    machine.mending.look()
    lie = bytes(len(group.segment(record)))
    for wrong in (None, b"", lie, group.segment(other)):
        assert not machine.mending.rebuild(record.number, wrong)
        assert fragment_of(machine, record) is None
        assert machine.mending.wanted == (record.number,)
