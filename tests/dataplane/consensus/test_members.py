"""What a replica does at the border of two epochs; the simulator drives whole changes."""

import msgspec
import pytest
from msgspec.structs import replace

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.messages import (
    CheckpointCertificate,
    CommittedEntry,
    FetchCommitted,
    Status,
)
from dataplane.consensus.outcome import CopyBegin, Execute, Send
from dataplane.consensus.records import (
    Accepted,
    Decided,
    Prepared,
    Recovered,
    encode_record,
    recover,
)
from dataplane.consensus.replica import Replica
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
        lab.give(0, Status(1, 0, 0, 0, STRANGER, is_active=True), STRANGER)
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
    learner.on_message(1_000_000, 0, Status(1, 0, 8, 9, 0, is_active=True))
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
