"""What a replica does at the border of two epochs; the simulator drives whole changes."""

import dataclasses

import msgspec
import pytest
from msgspec.structs import replace

from dataplane.consensus.config import Limits, ReplicaConfig
from dataplane.consensus.ending import PATIENCE_STATUSES
from dataplane.consensus.messages import (
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Committed,
    CommittedEntry,
    FetchCommitted,
    Status,
    checkpoint_payload,
)
from dataplane.consensus.outcome import (
    Broadcast,
    CopyBegin,
    Effect,
    Execute,
    Persist,
    Send,
    Stable,
)
from dataplane.consensus.records import (
    Accepted,
    Checkpointed,
    Decided,
    Prepared,
    Recovered,
    encode_record,
    recover,
)
from dataplane.consensus.replica import Replica
from dataplane.consensus.state import Archive
from dataplane.simulation.scenarios.lab import CLUSTER_ID, LIMITS, Lab
from dataplane.simulation.scenarios.ordering import laggard_gets_one_epoch_at_a_time
from dataplane.simulation.signatures import signer_of

STRANGER = 9


def _of_epoch(entry: CommittedEntry, epoch: int) -> CommittedEntry:
    return CommittedEntry(entry.batch, replace(entry.certificate, epoch=epoch))


def _with_three_batches() -> Lab:
    """Batches 1 and 2 are of this epoch, batch 3 is of the next."""
    lab = Lab(3)
    for cseq in (1, 2, 3):
        lab.order(cseq)
    archive = lab.bench[0].replica._state.archive
    archive._entries[3] = _of_epoch(archive._entries[3], 1)
    return lab


def test_a_laggard_gets_batches_of_one_epoch_at_a_time():
    laggard_gets_one_epoch_at_a_time()


def test_two_strangers_do_not_answer_each_other_for_ever():
    lab = Lab(3)
    lab.bench[0].said.clear()
    for _ in range(3):
        lab.give(0, Status(1, 0, 0, 0, STRANGER, is_active=True, head=b""), STRANGER)
    assert len(lab.bench[0].votes(Status)) == 1


def _learner(*, applied: int) -> Replica:
    members = Lab(3).members
    config = ReplicaConfig(
        cluster_id=CLUSTER_ID,
        epoch=1,
        replica_id=STRANGER,
        members=members,
        base=4,
        limits=LIMITS,
    )
    return Replica(config, signer_of("vote", STRANGER), Recovered(applied=applied))


@pytest.mark.parametrize(("applied", "copies"), [(0, True), (3, True), (4, False)])
def test_a_learner_whose_state_is_older_than_the_epoch_copies_and_asks_for_no_batch(
    applied, copies
):
    learner = _learner(applied=applied)
    learner.on_tick(1_000_000)
    learner.on_message(1_000_000, 0, Status(1, 0, 8, 9, 0, is_active=True, head=b""))
    learner.on_message(1_000_000, 0, CheckpointCertificate(1, 8, b"\1" * 32, ()))
    learner.on_tick(1_010_000)
    effects = learner.take()
    asked = any(isinstance(e, Send) and isinstance(e.message, FetchCommitted) for e in effects)
    assert any(isinstance(effect, CopyBegin) for effect in effects) is copies
    assert asked is not copies


def test_batches_of_the_epoch_before_are_still_served_after_a_restart():
    # The decision's own record has no batch: the accepted proposal, of the epoch before, has it.
    lab = Lab(3)
    lab.order(1)
    recovered = recover(lab.bench[1].disk, applied=1, epoch=1)
    assert not recovered.accepted
    digest = recovered.decided[1].certificate.digest
    assert recovered.decided[1].batch is None
    assert (1, digest) in recovered.bodies


def test_decisions_of_a_later_epoch_keep_their_batches_for_a_state_that_fell_behind():
    # The replica of the epoch that ends hands its archive on: what is missing there is lost.
    lab = Lab(3)
    lab.order(1)
    records = [_of_next_epoch(data) for data in lab.bench[1].disk]
    recovered = recover(records, applied=0, epoch=0)
    assert recovered.later_epoch
    assert not recovered.accepted
    assert (1, recovered.decided[1].certificate.digest) in recovered.bodies


def _of_next_epoch(data: bytes) -> bytes:
    record = msgspec.msgpack.decode(data, type=Accepted | Prepared | Decided)
    match record:
        case Accepted(pre_prepare=proposal):
            return encode_record(replace(record, pre_prepare=replace(proposal, epoch=1)))
        case Prepared(vote=vote):
            return encode_record(replace(record, vote=replace(vote, epoch=1)))
        case Decided(certificate=certificate):
            return encode_record(replace(record, certificate=replace(certificate, epoch=1)))


def test_no_batch_of_the_next_epoch_is_executed_in_this_one():
    lab = _with_three_batches()
    archive = lab.bench[0].replica._state.archive
    config = lab.bench[0].replica._state.config
    late = Replica(config, signer_of("vote", 0), Recovered())
    late._state.archive = archive
    late.on_tick(lab.now_ms)
    executed = [e.sequence for e in late.take() if isinstance(e, Execute)]
    assert executed == [1, 2]


ROOT, OTHER = b"\1" * 32, b"\2" * 32
BASE = 6
NOW_MS = 1_000_000


def _checkpoint(replica: int, root: bytes = ROOT, sequence: int = BASE) -> Checkpoint:
    payload = checkpoint_payload(CLUSTER_ID, epoch=1, sequence=sequence, root=root)
    return Checkpoint(1, sequence, root, replica, signer_of("vote", replica).sign(payload))


def _member(known: Recovered, limits: Limits = LIMITS) -> Replica:
    config = ReplicaConfig(
        cluster_id=CLUSTER_ID,
        epoch=1,
        replica_id=0,
        members=Lab(3).members,
        base=BASE,
        limits=limits,
    )
    return Replica(config, signer_of("vote", 0), known)


def _run(replica: Replica) -> list[Effect]:
    """Carry out what is written; return all effects."""
    effects: list[Effect] = []
    while more := replica.take():
        effects += more
        written = [effect.barrier for effect in more if isinstance(effect, Persist)]
        if written:
            replica.on_persisted(NOW_MS, max(written))
    return effects


def _said(effects: list[Effect], kind: type) -> list:
    sent = [effect.message for effect in effects if isinstance(effect, Broadcast | Send)]
    return [message for message in sent if isinstance(message, kind)]


def test_members_sign_the_state_that_their_epoch_began_with():
    member = _member(Recovered(applied=BASE, base_root=ROOT))
    member.on_tick(NOW_MS)
    assert _said(_run(member), Checkpoint) == [_checkpoint(0)]
    member.on_message(NOW_MS, 2, _checkpoint(2))
    effects = _run(member)
    (certificate,) = [e.certificate for e in effects if isinstance(e, Stable)]
    assert (certificate.sequence, certificate.root, member.stable) == (BASE, ROOT, BASE)
    # Who says that it has none gets it; who has it does not.
    for stable, sent in ((BASE - 1, 1), (BASE, 0)):
        member.on_message(NOW_MS, 1, Status(1, 0, stable, BASE, 1, is_active=True, head=b""))
        assert len(_said(_run(member), CheckpointCertificate)) == sent


def test_a_vote_for_where_the_epoch_began_counts_after_a_restart_and_only_once():
    records = [encode_record(Checkpointed(_checkpoint(0)))]
    member = _member(recover(records, applied=BASE + 1, epoch=1))
    member.on_tick(NOW_MS)
    member.on_message(NOW_MS, 0, _checkpoint(0))
    assert not [e for e in _run(member) if isinstance(e, Stable)]
    member.on_message(NOW_MS, 1, _checkpoint(1))
    assert [e for e in _run(member) if isinstance(e, Stable)]


def test_no_other_sequence_is_taken_for_the_beginning_of_an_epoch():
    member = _member(Recovered(applied=BASE, base_root=ROOT))
    member.on_tick(NOW_MS)
    for replica in (1, 2):
        member.on_message(NOW_MS, replica, _checkpoint(replica, sequence=BASE + 1))
        member.on_message(NOW_MS, replica, _checkpoint(replica, sequence=BASE - 2))
    assert member.sizes()["checkpoints"] <= 1
    assert not [e for e in _run(member) if isinstance(e, Stable)]


def test_another_root_of_where_the_epoch_began_tells_a_member_that_its_state_is_wrong():
    member = _member(Recovered(applied=BASE, base_root=OTHER))
    member.on_tick(NOW_MS)
    for replica in (1, 2):
        member.on_message(NOW_MS, replica, _checkpoint(replica))
    _run(member)
    assert member.diverged


def test_who_is_in_the_epoch_before_gets_its_last_certificate_until_this_one_has_its_own():
    lab = Lab(3)
    lab.order(*range(1, 6))
    ended = lab.bench[0].replica
    certificate = lab.state(0).stable_certificate
    assert certificate is not None
    member = _member(Recovered(applied=BASE, base_root=ROOT))
    ended.hand_over(member, NOW_MS)
    member.on_tick(NOW_MS)
    _run(member)
    behind = Status(0, 0, 0, 1, 1, is_active=True, head=b"")
    member.on_message(NOW_MS, 1, behind)
    assert _said(_run(member), CheckpointCertificate) == [certificate]
    member.on_message(NOW_MS, 2, _checkpoint(2))
    _run(member)
    member.on_message(NOW_MS, 1, behind)
    assert certificate not in _said(_run(member), CheckpointCertificate)


def test_batches_on_the_way_to_an_epoch_are_kept_until_its_beginning_is_certified():
    limits = dataclasses.replace(LIMITS, retained_batches_max=1)
    lab = Lab(3, limits=limits)
    lab.order(*range(1, 7))
    member = _member(Recovered(applied=BASE, base_root=ROOT))
    lab.bench[0].replica.hand_over(member, NOW_MS)
    member.on_tick(NOW_MS)
    state = member._state
    state.archive.trim(state.superseded)
    assert [entry.certificate.sequence for entry in state.archive.beyond(0)] == [5, 6]
    member.on_message(NOW_MS, 2, _checkpoint(2))
    _run(member)
    state.archive.trim(state.superseded)
    assert len(state.archive) == 1


def test_a_laggard_that_hears_of_no_certificate_of_its_epoch_keeps_a_bounded_number_of_batches():
    limits = dataclasses.replace(LIMITS, retained_batches_max=1)
    last = BASE + 2 * LIMITS.window
    lab = Lab(3, limits=limits)
    lab.order(*range(1, BASE + 1))
    member = _member(Recovered(applied=BASE, base_root=ROOT), limits)
    lab.bench[0].replica.hand_over(member, NOW_MS)
    way_there = len(member.decided)
    assert way_there > 1
    giver = Lab(3)
    giver.state(0).archive = Archive(last, 1_000_000)
    giver.order(*range(1, last + 1))
    for sequence in range(BASE + 1, last + 1):
        entry = giver.state(0).archive.get(sequence)
        member.on_message(NOW_MS, 1, Committed((_of_epoch(entry, 1),)))
        assert [e for e in _run(member) if isinstance(e, Execute)]
        member.on_executed(NOW_MS, sequence, None)
        within = sequence <= BASE + LIMITS.window
        assert len(member.decided) == (way_there + sequence - BASE if within else LIMITS.window)
    assert member.stable == BASE


def test_a_member_that_joins_an_epoch_late_neither_votes_nor_executes_before_it_has_a_state():
    lab = Lab(3)
    lab.order(1, 2, 3)
    late = _member(Recovered(applied=1))
    lab.bench[0].replica.hand_over(late, NOW_MS)
    late.on_tick(NOW_MS)
    assert not [e for e in _run(late) if isinstance(e, Execute)]
    assert late.is_surplus(lab.proposal(7, lab.request(0, 9)))
    late.on_message(NOW_MS, 1, CheckpointCertificate(1, BASE, ROOT, ()))
    late.on_tick(NOW_MS + 1)
    assert [e for e in _run(late) if isinstance(e, CopyBegin)]


def _at_the_end(lab: Lab) -> Replica:
    """Return a replica that executed the last batch of its epoch, and lacks a certificate."""
    lab.order(1)
    lab.ends_at = 2
    bench = lab.bench[0]
    bench.disk = [data for data in bench.disk if msgspec.msgpack.decode(data)[0] != "Decided"]
    replica = lab.restart(0).replica
    lab.order(2)
    assert replica.executed == 2
    return replica


def test_who_lacks_a_certificate_at_the_end_of_an_epoch_stays_until_it_is_made_again():
    lab = Lab(4)
    _at_the_end(lab)
    bench = lab.bench[0]
    assert not bench.has_left
    digest = lab.bench[1].replica.decided.get(1).certificate.digest
    for replica in (1, 2):
        assert not bench.has_left
        lab.give(0, lab.vote(Commit, replica, 1, digest))
    assert bench.has_left
    assert 1 in bench.replica.decided


def test_who_lacks_a_certificate_at_the_end_of_an_epoch_does_not_wait_for_ever():
    lab = Lab(4)
    _at_the_end(lab)
    bench = lab.bench[0]
    lab.tick(0, after_ms=PATIENCE_STATUSES * LIMITS.status_ms - 1)
    assert not bench.has_left
    lab.tick(0, after_ms=1)
    assert bench.has_left


def test_who_lacks_a_certificate_at_the_end_of_an_epoch_goes_when_more_than_may_lie_went():
    lab = Lab(4)
    _at_the_end(lab)
    bench = lab.bench[0]
    for replica, stays in ((STRANGER, True), (1, True), (1, True), (2, False)):
        lab.give(0, Status(1, 0, 0, 2, replica, is_active=True, head=b""), replica)
        assert bench.has_left is not stays
