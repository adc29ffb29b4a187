"""Segments of nothing are kept while somebody reads an earlier moment, and no longer."""

import msgspec
import pytest

from dataplane.documents.archive_commands import Hold
from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.commands import CollectionDrop, CollectionPut, Delete, Maintain, Put
from dataplane.documents.holding import HOLD, HOLD_MS_MAX
from dataplane.documents.subjects import subject_hash
from dataplane.documents.tables import DEAD, SEGMENT
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.fragments import FRAGMENT
from tests.dataplane.documents.index_checks import (
    CLIENT,
    Machine,
    check_clean,
    check_segments,
    tick,
    warming,
)
from tests.dataplane.documents.member_group import member

COLD_S = 100
ID, SALT = b"e" * 16, b"s" * 16
MEMBERS = Genesis(members=(msgspec.structs.replace(member(1), gateway_key=CLIENT),))


def put(name: str) -> Put:
    return Put("c", name, pack_document({"who": name, "text": "x" * 90}))


def cold_machine(*names: str, **options: object) -> Machine:
    """Return a machine with a segment of its own for each name."""
    machine = Machine(genesis=MEMBERS, member=1)
    policy = {"tiering": {"cold_after_s": COLD_S}, "subject": "who", **options}
    machine.apply(CollectionPut("c", pack_document(policy)))
    for name in names:
        machine.apply(put(name))
        machine.now_ms += 1000 * (COLD_S + 10)
        tick(machine)
    assert count(machine) == len(names)
    return machine


def count(machine: Machine) -> int:
    """Return how many segments there are, of which every fragment is kept."""
    check_segments(machine.store)
    fragments = len(list(machine.store.iterate(FRAGMENT)))
    assert fragments == len(list(machine.store.iterate(SEGMENT)))
    return fragments


def held(machine: Machine) -> list[int]:
    """Return what is kept, as a replica that begins anew says too."""
    known = machine.state.tiers.holds
    found = known.dead, known.until_ms, machine.state.root()
    machine.reopen()
    anew = machine.state.tiers.holds
    assert (anew.dead, anew.until_ms, machine.state.root()) == found
    return sorted(anew.dead)


def test_what_dies_under_a_hold_is_kept_until_it_is_over_and_then_removed_in_steps(monkeypatch):
    monkeypatch.setattr("dataplane.documents.tiering.RELEASED_MAX", 1)
    machine = cold_machine("a", "b", "z")
    machine.apply(Hold(60_000))
    machine.apply(put("a"), warming(machine.store, machine.state, "c", "b"))
    assert (len(held(machine)), count(machine)) == (2, 3)
    totals = machine.state.tiers
    assert (totals.total("distributed")[0], totals.placement.total) == (1, 1), "they are not told"
    assert totals.half_empty == set()

    machine.now_ms += 59_999
    assert not machine.state.maintenance.is_due(machine.now_ms)
    machine.apply(Delete("c", "z"))
    assert count(machine) == 3
    machine.now_ms += 1
    counts = []
    while machine.state.maintenance.is_due(machine.now_ms):
        machine.apply()
        held(machine)
        counts.append(count(machine))
    assert counts[:3] == [2, 1, 0]
    assert machine.store.get(HOLD) is None
    assert list(machine.store.iterate(DEAD)) == []
    check_clean(machine.store)


def test_a_hold_reaches_a_bounded_time_and_the_furthest_counts():
    machine = cold_machine("a")
    machine.apply(Hold(10 * HOLD_MS_MAX))
    assert machine.state.tiers.holds.until_ms == machine.now_ms + HOLD_MS_MAX
    machine.apply(Hold(1))
    assert machine.state.tiers.holds.until_ms == machine.now_ms + HOLD_MS_MAX
    assert machine.apply(Hold(0))[0].code == "invalid"


def test_nothing_is_held_where_nothing_is_cold_and_for_nobody():
    machine = Machine(genesis=MEMBERS, member=1)
    assert machine.apply(Hold(1_000))[0].status == 200
    assert machine.store.get(HOLD) is None
    stranger = Machine(genesis=Genesis(members=(member(1),)))
    assert stranger.apply(Hold(1_000))[0].code == "forbidden"


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("dataplane.documents.holding.KEPT_MAX", 1)
    machine = cold_machine("a", "b")
    machine.apply(Hold(60_000))
    machine.apply(Delete("c", "a"), Delete("c", "b"))
    assert (len(held(machine)), count(machine)) == (1, 1)


@pytest.mark.parametrize("is_dead", [False, True])
def test_what_a_person_was_erased_from_is_not_kept(is_dead):
    machine = cold_machine("ada", "bob")
    machine.apply(Hold(60_000))
    machine.apply(put("bob"))
    back = warming(machine.store, machine.state, "c", "ada")
    begun = EraseBegin(ID, subject_hash(SALT, "ada"), SALT)
    step = EraseStep(ID, "c", ("ada",))
    if is_dead:
        machine.apply(back)
        assert (len(held(machine)), count(machine)) == (2, 2)
        *_, early = machine.apply(begun, step, EraseEnd(ID))
        assert early.code == "not_ready", "in the same batch nobody knows yet"
    else:
        machine.apply(begun, back, step)
    assert (len(held(machine)), count(machine)) == (1, 1), "of others it is"
    assert machine.apply(EraseEnd(ID))[0].status == 200


@pytest.mark.parametrize("is_shreddable", [False, True])
def test_what_is_dropped_is_not_kept_whether_it_was_dead_before_or_not(is_shreddable):
    machine = cold_machine("a", "b", shreddable=is_shreddable)
    machine.apply(Hold(60_000))
    machine.apply(Delete("c", "a"))
    assert len(held(machine)) == 1
    machine.apply(CollectionDrop("c"))
    assert held(machine) == []
    machine.apply(Maintain())
    assert count(machine) == 0
    assert machine.store.get(HOLD) is not None
    machine.now_ms += 60_000
    tick(machine)
    assert machine.store.get(HOLD) is None
    check_clean(machine.store)
