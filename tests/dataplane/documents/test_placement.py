"""Changes of members: none leaves cold documents with fewer holders than it takes to read them."""

import pytest

from dataplane.documents.commands import IndexPut, Maintain, Put
from dataplane.documents.membership import AWAITED_MS
from dataplane.documents.placement import is_spared
from dataplane.documents.tables import Batch
from dataplane.documents.values import pack_document
from tests.dataplane.documents.index_checks import cold_places
from tests.dataplane.documents.member_group import COLD_S, MemberGroup


@pytest.mark.parametrize(
    ("holders", "k", "following", "is_enough"),
    [
        ((0,), 1, (0, 1, 2, 3), True),
        ((0,), 1, (1,), False),
        ((0, 1, 2), 2, (0, 1, 3), True),
        ((0, 1, 2), 2, (0, 1, 2, 3), True),
        ((0, 1, 2), 2, (0, 1, 3, 4), False),
        ((0, 1, 2, 3), 2, (0, 1, 2, 4), True),
        ((0, 1, 2, 3), 2, (0, 1, 4, 5), False),
        ((0, 1, 2, 3), 2, (0,), False),
        (tuple(range(7)), 3, (0, 1, 2, 3), True),
        (tuple(range(7)), 3, (0, 1, 2, 7), False),
        (tuple(range(10)), 4, (0, 1, 2, 3), False),
        (tuple(range(10)), 4, (0, 1, 2, 3, 4), True),
    ],
)
def test_k_holders_stay_and_as_many_more_as_may_fail(holders, k, following, is_enough):
    assert is_spared((holders, k), following) is is_enough


def test_an_order_that_would_lose_cold_documents_waits_until_they_are_moved():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a", "b")
    (record,) = group.records()

    refused = group.reconfigure(1, 2, 5, 6)

    assert (refused.status, refused.code) == (503, "not_ready")
    assert refused.errors[0][0] == "/members"
    assert "1 segments" in (refused.detail or "")
    tiers = group.first.state.tiers
    assert group.first.state.configuration.ends_at is None
    assert tiers.placement.waiting == 1
    assert list(tiers.misplaced()) == [record]
    # What becomes cold now would only have to be moved again.
    group.apply(Put("c", "new", pack_document({"t": "new" * 100})))
    group.pass_time()
    group.tick()
    # Nor while a larger step has something else to do.
    group.apply(Put("d", "x", pack_document({"n": 1})), IndexPut("d", "i", (("n", 1),)))
    group.apply(Maintain())
    assert cold_places(group.first.state) == [("c", "a"), ("c", "b")]

    group.warm_out(record)
    assert cold_places(group.first.state) == []
    assert list(tiers.misplaced()) == []
    group.change(1, 2, 5, 6)
    group.pass_time()
    group.tick()

    assert cold_places(group.first.state) == [("c", "a"), ("c", "b"), ("c", "new")]
    assert {record.members for record in group.records()} == {(1, 2, 5, 6)}


def test_a_replica_that_begins_anew_decides_like_those_that_went_on():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a", "b")
    assert group.reconfigure(1, 2, 5, 6).status == 503
    group.machines[2].reopen()
    group.apply(Put("c", "new", pack_document({"t": "new" * 100})))
    group.pass_time()
    group.apply()
    assert group.reconfigure(1, 2, 5, 6).status == 503
    assert group.reconfigure(1, 2, 3, 5).status == 200
    group.machines[2].reopen()
    group.apply()


def test_what_is_asked_for_no_more_is_prepared_no_more():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a", "b")
    assert group.reconfigure(1, 2, 5, 6).status == 503
    group.apply(Put("c", "new", pack_document({"t": "new" * 100})))
    group.pass_time(AWAITED_MS / 1000)
    group.tick()
    assert len(cold_places(group.first.state)) == 3
    assert group.first.state.tiers.placement.waiting == 0
    assert list(group.first.state.tiers.misplaced()) == []


def test_several_members_are_replaced_one_after_the_other_with_the_documents_moved_between():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a", "b")
    group.change(1, 2, 3, 5)
    (record,) = group.records()
    assert record.members == (1, 2, 3, 4)
    assert list(group.first.state.tiers.misplaced()) == [record]
    assert group.reconfigure(1, 2, 5, 6).status == 503
    group.warm_out(record)
    group.pass_time(COLD_S / 10)
    group.tick()
    (moved,) = group.records()
    assert moved.members == (1, 2, 3, 5), "those lose one, as many as may"
    group.change(1, 2, 5, 6)
    assert cold_places(group.first.state) == [("c", "a"), ("c", "b")]


def test_a_cluster_grows_and_shrinks_at_once():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a", "b")
    group.change(1, 2, 3, 4, 5, 6, 7)
    assert group.reconfigure(4, 5, 6, 7).status == 503, "one of the four is not enough"
    group.warm_out(group.records()[0])
    group.pass_time()
    group.tick()
    (moved,) = group.records()
    assert moved.members == (1, 2, 3, 4, 5, 6, 7)
    group.change(4, 5, 6, 7)
    assert group.segment(moved), "four of seven are one more than it takes"


def test_nothing_becomes_cold_in_the_last_batches_of_an_epoch_that_the_next_could_not_read():
    group = MemberGroup(1, 2, 3, 4)
    group.fill()
    group.apply(Put("c", "late", pack_document({"t": "late" * 100})))
    assert group.reconfigure(1, 2, 5, 6).status == 200, "nothing is cold yet"
    group.pass_time()
    group.apply(Maintain())
    assert group.first.state.configuration.ends_at is not None
    assert cold_places(group.first.state) == []
    for number in (5, 6):
        group.join(number)
    while group.first.state.configuration.ends_at is not None:
        group.apply()
    group.tick()
    assert cold_places(group.first.state) == [("c", "late")]
    assert group.records()[0].members == (1, 2, 5, 6)


def test_what_is_in_the_archive_stands_in_nobodys_way_and_is_nobodys_to_keep():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a", "b")
    (record,) = group.records()
    for machine in group.machines.values():
        tiers = machine.state.tiers
        batch = Batch(machine.store)
        tiers.mark(batch, record.number)
        row = tiers.leaving(batch, record.number)
        assert row is not None
        tiers.archive(batch, record.number, row)
        assert tiers.placement.total == 0
        assert tiers.placement.blocking((1, 5, 6, 7)) == 0
        machine.store.write(batch.changes | batch.own)
        machine.reopen()
        assert machine.state.tiers.placement.total == 0
        machine.mending.look()
        assert machine.mending.census.held == 0
        assert machine.mending.wanted == ()
