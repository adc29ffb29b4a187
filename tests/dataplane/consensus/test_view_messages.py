"""What a message that moves views must prove; one defect refuses all of it."""

import pytest
from msgspec.structs import replace

from dataplane.consensus.messages import NULL_DIGEST, CarriedProposal, NewView, ViewChange
from dataplane.simulation.scenarios.crafting import (
    checkpoint,
    leave,
    new_view,
    proof,
    resigned,
    signed,
    suspect,
    timeout,
    view_change,
    views,
)
from dataplane.simulation.scenarios.lab import LIMITS, Lab

A, B = b"\1" * 32, b"\2" * 32
HUGE = 2**40


@pytest.fixture
def lab():
    return Lab(4)


def _refused(lab: Lab, message, sender: int | None = None) -> None:
    before = views(lab)
    assert not lab.give(3, message, sender)
    assert views(lab) == before


def test_a_timeout_certificate_needs_a_blocking_set_of_distinct_members(lab):
    good = timeout(0, (0, 1))
    _refused(lab, timeout(0, (0,)), 1)
    _refused(lab, replace(good, votes=(good.votes[0], good.votes[0])), 1)
    _refused(lab, timeout(0, (0, 9)), 1)
    _refused(lab, replace(good, votes=(good.votes[0], (1, good.votes[0][1]))), 1)
    _refused(lab, replace(good, view=HUGE), 1)
    _refused(lab, replace(good, epoch=1), 1)
    _refused(lab, timeout(0, (0, 1, 2, 3, 4)), 1)
    assert lab.give(3, good, 1)
    assert views(lab)[3] == (1, False)


@pytest.mark.parametrize(
    "broken",
    [
        replace(suspect(1), view=1),
        replace(suspect(1), replica=2),
        replace(suspect(1), epoch=1),
        replace(suspect(1), sig=b"\0" * 64),
        suspect(9),
    ],
)
def test_a_suspect_must_be_signed_by_its_sender(lab, broken):
    _refused(lab, broken)
    assert not lab.bench[3].replica.sizes()["suspects"]


def _forgeries(lab: Lab) -> dict[str, object]:
    """Prepared certificates for sequence 2 that prove nothing."""
    good = proof(lab, 0, 2, A)
    return {
        "too few": proof(lab, 0, 2, A, backups=(1,)),
        "one counted twice": replace(good, votes=(good.votes[0], good.votes[0])),
        "the primary among the backups": proof(lab, 0, 2, A, backups=(0, 1)),
        "a stranger": proof(lab, 0, 2, A, backups=(1, 9)),
        "another digest": replace(good, digest=B),
        "another view": replace(proof(lab, 1, 2, A, backups=(0, 2)), view=0),
        "another sequence": replace(good, sequence=3),
        "no proposal": replace(good, proposal_sig=signed(b"P", 0, 0, 2, A)),
        "commits for prepares": replace(
            good, votes=tuple((i, signed(b"C", i, 0, 2, A)) for i in (1, 2))
        ),
        "of the view that begins": proof(lab, 1, 2, A, backups=(0, 2)),
        "of a later view": proof(lab, 7, 2, A, backups=(0, 2)),
        "above the window": proof(lab, 0, LIMITS.window + 1, A),
        "a short digest": proof(lab, 0, 2, A[:8]),
    }


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("name", sorted(_forgeries(Lab(4))))
def test_a_forged_prepared_certificate_refuses_the_whole_view_change(lab, name, place):
    forged = _forgeries(lab)[name]
    genuine = proof(lab, 0, 3 if place == "first" else 1, A)
    proofs = [forged, genuine] if place == "first" else [genuine, forged]
    _refused(lab, view_change(lab, 2, 1, proofs))
    _refused(lab, replace(view_change(lab, 2, 1, [genuine]), prepared=tuple(proofs)))
    assert lab.give(3, view_change(lab, 2, 1, [genuine]))


def test_proofs_come_in_order_and_one_a_sequence(lab):
    first, second = proof(lab, 0, 1, A), proof(lab, 0, 2, B)
    _refused(lab, view_change(lab, 2, 1, [second, first]))
    _refused(lab, view_change(lab, 2, 1, [first, first]))
    _refused(lab, view_change(lab, 2, 1, [first], stable=checkpoint(4, A, (0, 1, 2))))
    assert lab.give(3, view_change(lab, 2, 1, [first, second]))


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": timeout(0, (0,))},
        {"timeout": timeout(1, (0, 1))},
        {"checkpoint": checkpoint(4, A, (0, 1))},
        {"checkpoint": replace(checkpoint(4, A, (0, 1, 2)), root=B)},
        {"replica": 1},
        {"epoch": 1},
        {"view": HUGE},
        {"sig": b"\0" * 64},
    ],
)
def test_a_view_change_with_one_defect_is_refused(lab, change):
    good = view_change(lab, 2, 1)
    broken = replace(good, **change)
    _refused(lab, broken, 2)
    if not {"sig", "replica"} & set(change):
        _refused(lab, resigned(broken), 2)
    assert lab.give(3, good)


def _wrong_new_views(lab: Lab) -> dict[str, NewView]:
    changes = [view_change(lab, i, 1, [proof(lab, 0, 2, A)]) for i in (0, 2, 3)]
    good = new_view(lab, 1, changes)
    null, carried = good.proposals
    other = CarriedProposal(2, B, signed(b"PP", 1, 1, 2, B))
    filled = CarriedProposal(1, B, signed(b"PP", 1, 1, 1, B))
    one_more = CarriedProposal(3, NULL_DIGEST, signed(b"PP", 1, 1, 3, NULL_DIGEST))
    unsigned = replace(carried, sig=signed(b"PP", 2, 1, 2, A))
    twice = [changes[0], changes[0], changes[1]]
    another_view = [*changes[:2], view_change(lab, 3, 2)]
    return {
        "another batch": replace(good, proposals=(null, other)),
        "a batch for the null one": replace(good, proposals=(filled, carried)),
        "a proof left out": replace(good, proposals=()),
        "the gap left out": replace(good, proposals=(carried,)),
        "one too many": replace(good, proposals=(null, carried, one_more)),
        "in another order": replace(good, proposals=(carried, null)),
        "not signed by the primary": replace(good, proposals=(null, unsigned)),
        "too few": replace(new_view(lab, 1, changes[:2])),
        "more than a quorum": replace(new_view(lab, 1, [view_change(lab, 1, 1), *changes])),
        "one replica twice": replace(new_view(lab, 1, twice)),
        "not sorted": replace(good, changes=tuple(reversed(changes))),
        "of another view": replace(good, changes=tuple(another_view)),
        "from who is not the primary": replace(good, replica=2),
        "for another view": replace(good, view=5),
        "of another epoch": replace(good, epoch=1),
        "with a forged ViewChange": replace(
            good, changes=(replace(changes[0], prepared=()), *changes[1:])
        ),
    }


@pytest.mark.parametrize("name", sorted(_wrong_new_views(Lab(4))))
def test_a_new_view_that_does_not_follow_is_refused(lab, name):
    _refused(lab, resigned(_wrong_new_views(lab)[name]), 1)
    good = new_view(lab, 1, [view_change(lab, i, 1, [proof(lab, 0, 2, A)]) for i in (0, 2, 3)])
    _refused(lab, replace(good, sig=b"\0" * 64))
    assert lab.give(3, good)
    assert views(lab)[3] == (1, True)


def test_contradicting_certificates_of_one_view_begin_nothing(lab):
    """They need more than f liars; then nobody may go on as if nothing were wrong."""
    for i, digest in ((0, A), (2, B), (3, B)):
        lab.give(1, view_change(lab, i, 1, [proof(lab, 0, 1, digest)]))
    assert views(lab)[1] == (1, False)
    assert "contradicting_proofs" in lab.bench[1].alarms


def test_a_huge_view_without_proof_moves_nothing_and_is_kept_once_a_replica(lab):
    for i in range(50):
        for replica in (0, 1):
            lab.give(3, suspect(replica, HUGE + 2 * i + replica))
    _refused(lab, replace(view_change(lab, 2, 1), view=HUGE))
    sizes = lab.bench[3].replica.sizes()
    assert sizes["suspects"] == 2
    assert sizes["view_changes"] == 0


def test_view_changes_of_ever_later_views_are_kept_once_a_replica(lab):
    for view in range(1, 50):
        for replica in (0, 1, 2):
            lab.give(3, view_change(lab, replica, view))
    assert lab.bench[3].replica.sizes()["view_changes"] <= 4


def test_replays_do_nothing_and_no_view_goes_backwards(lab):
    lab.order(1)
    leave(lab, 0)
    leave(lab, 1)
    lab.order(2, gateway=2)
    old = [
        (i, message)
        for i, bench in lab.bench.items()
        for message in bench.said
        if isinstance(message, ViewChange | NewView) and message.view == 1
    ]
    assert {type(message) for _, message in old} == {ViewChange, NewView}
    before = views(lab)
    votes = len(lab.bench[3].disk)
    for _ in range(3):
        for i, message in old:
            lab.give(3, message, i)
        lab.give(3, timeout(0, (0, 1)), 1)
        lab.give(3, lab.bench[2].votes(NewView)[0], 2)
    assert views(lab) == before == [(2, True)] * 4
    assert len(lab.bench[3].disk) == votes


def test_the_first_view_change_of_a_replica_counts(lab):
    """A liar sends two: one with its certificate, one that hides it."""
    lab.give(1, view_change(lab, 0, 1, [proof(lab, 0, 1, A)]))
    lab.give(1, view_change(lab, 0, 1))
    lab.give(1, view_change(lab, 2, 1))
    (message,) = lab.bench[1].votes(NewView)
    assert [carried.digest for carried in message.proposals] == [A]
