"""Persist before send, before counting, and what a restart makes of the log."""

import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import Commit, Prepare, PrePrepare
from dataplane.simulation.scenarios.lab import LIMITS, Lab
from dataplane.simulation.scenarios.ordering import checkpoint_votes_outlive_a_crash


def test_nothing_leaves_before_it_is_on_disk():
    lab = Lab(4, sync=False)
    lab.ask(0, lab.request(0, 1))
    assert not lab.bench[0].said
    lab.sync(0)
    assert [type(said) for said in lab.bench[0].said] == [PrePrepare]
    lab.run()
    assert not lab.bench[1].said
    lab.sync(1)
    assert [type(said) for said in lab.bench[1].said] == [Prepare]


def test_an_own_vote_does_not_count_before_it_is_on_disk():
    lab = Lab(4, sync=False)
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, proposal)
    lab.give(1, lab.vote(Prepare, 2, 1, proposal.digest))
    lab.give(1, lab.vote(Commit, 0, 1, proposal.digest))
    lab.give(1, lab.vote(Commit, 2, 1, proposal.digest))
    assert lab.bench[1].barrier == 1  # Only the proposal; two of three Prepares so far.
    lab.sync(1)
    assert lab.bench[1].barrier == 2  # The own Prepare made the quorum.
    assert not lab.bench[1].executed
    lab.sync(1)
    assert len(lab.bench[1].executed) == 1


def test_one_replica_alone_decides_only_what_is_on_disk():
    lab = Lab(1, sync=False)
    lab.ask(0, lab.request(0, 1))
    for _ in range(2):
        assert not lab.bench[0].executed
        lab.sync(0)
    assert len(lab.bench[0].executed) == 1


def test_tendermint_3089_a_restart_repeats_the_same_votes_and_no_other():
    lab = Lab(4)
    proposal = lab.proposal(1, lab.request(0, 1))
    lab.give(1, proposal)
    lab.give(1, lab.vote(Prepare, 2, 1, proposal.digest))
    before = [*lab.bench[1].votes(Prepare), *lab.bench[1].votes(Commit)]
    lab.restart(1)
    lab.tick(1, after_ms=LIMITS.retransmit_ms)
    after = lab.bench[1].said
    assert [vote for vote in after if isinstance(vote, Prepare | Commit)][:2] == before


def test_telcoin_391_a_restarted_replica_does_not_vote_for_a_second_proposal():
    lab = Lab(4)
    first, second = (lab.proposal(1, lab.request(0, cseq)) for cseq in (1, 2))
    lab.give(1, first)
    lab.restart(1)
    lab.give(1, second)
    assert {vote.digest for vote in lab.bench[1].votes(Prepare)} == {first.digest}
    assert [evidence.replica for evidence in lab.bench[1].evidence] == [0]


def test_a_restarted_primary_never_reuses_a_sequence():
    lab = Lab(4)
    lab.drop = lambda source, target, message: not isinstance(message, PrePrepare)
    lab.order(1)
    lab.restart(0)
    lab.ask(0, lab.request(0, 2))
    proposals = {said.sequence: said.digest for said in lab.bench[0].votes(PrePrepare)}
    known = lab.bench[1].votes(Prepare)[0]
    assert proposals.get(1, known.digest) == known.digest
    lab.drop = lambda source, target, message: False
    lab.tick(after_ms=LIMITS.retransmit_ms)
    lab.run()
    assert all(not bench.evidence for bench in lab.bench.values())
    assert all(len(bench.executed) == 2 for bench in lab.bench.values())


def _drive(lab: Lab, steps: int | None = None) -> int:
    """Take single steps (one delivery or one sync) until nothing is left or `steps` are done."""
    done = 0
    while steps is None or done < steps:
        waiting = [i for i, bench in lab.bench.items() if bench.barrier > bench.durable]
        if lab.wire:
            source, target, message = lab.wire.popleft()
            assert lab.give(target, message, source)
        elif waiting:
            lab.sync(waiting[0])
        else:
            return done
        done += 1
    return done


def _ask_and_drive(victim_step: int | None) -> tuple[Lab, int]:
    lab = Lab(4, sync=False)
    lab.ask(0, lab.request(0, 1))
    return lab, _drive(lab, victim_step)


STEPS = _ask_and_drive(None)[1]


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_crash_at_any_step_loses_nothing_and_contradicts_nothing(step, victim, kept):
    lab, _ = _ask_and_drive(step)
    lab.auto_sync = True
    lab.restart(victim, keep=kept)
    for i in lab.bench:
        if i != victim:
            lab.sync(i)
    lab.ask(0, lab.request(0, 1))
    for _ in range(12):
        lab.tick(after_ms=LIMITS.status_ms)
        lab.run()
    logs = [
        [request.cseq for batch in bench.executed for request in batch.requests]
        for bench in lab.bench.values()
    ]
    assert logs[0]
    assert set(logs[0]) == {1}
    assert all(log == logs[0] for log in logs)
    assert all(not bench.evidence for bench in lab.bench.values())


@pytest.mark.parametrize("step", range(STEPS))
def test_a_crash_of_all_at_any_step_keeps_what_was_executed_anywhere(step):
    lab, _ = _ask_and_drive(step)
    executed = max((bench.executed for bench in lab.bench.values()), key=len)
    lab.auto_sync = True
    for i in list(lab.bench):
        lab.restart(i, applied=0)
    lab.ask(0, lab.request(0, 1))
    for _ in range(12):
        lab.tick(after_ms=LIMITS.status_ms)
        lab.run()
    for bench in lab.bench.values():
        assert bench.executed[: len(executed)] == executed
        assert bench.executed


def test_concord_1709_the_state_may_be_older_or_newer_than_the_log():
    for applied in range(7):
        lab = Lab(4)
        lab.order(1, 2, 3, 4, 5, 6)
        bench = lab.restart(2, applied=applied)
        assert len(bench.executed) == 6
        lab.order(7)
        assert lab.bench[2].executed == lab.bench[0].executed


def test_a_lost_checkpoint_vote_at_the_high_watermark_is_given_again():
    limits = Limits(checkpoint_interval=2, window=2, pipeline=8)
    lab = Lab(1, limits=limits)
    lab.order(1, 2)
    assert lab.bench[0].stable == [2]
    lab.order(3)
    lab.auto_sync = False
    lab.ask(0, lab.request(0, 4))
    for _ in range(2):
        lab.sync(0)
    assert len(lab.bench[0].executed) == 4  # The state has it; the checkpoint's vote is not synced.
    lab.auto_sync = True
    lab.restart(0)
    lab.order(5)
    assert len(lab.bench[0].executed) == 5


def test_a_checkpoint_vote_on_disk_counts_after_a_restart():
    checkpoint_votes_outlive_a_crash()
