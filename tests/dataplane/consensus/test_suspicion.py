"""When a primary is suspected, and when not; back-off; requests that must not be passed over."""

import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    Commit,
    Forward,
    Heartbeat,
    Prepare,
    PrePrepare,
    Suspect,
)
from dataplane.simulation.scenarios.crafting import (
    batch_of,
    cut_off,
    executed_cseqs,
    join,
    leave,
    pass_time,
    proposal,
    suspect,
    timeout,
    views,
)
from dataplane.simulation.scenarios.lab import LIMITS, Lab
from dataplane.simulation.scenarios.suspicion import (
    back_off_ends_with_execution,
    own_sleep_excuses_nobody,
    patience_has_a_limit,
    selfish_primary_is_replaced,
)

STEP = 100


def _started(n: int, **options) -> Lab:
    lab = Lab(n, **options)
    lab.tick()
    lab.run()
    return lab


def test_a_silent_primary_is_replaced_and_the_request_executes():
    lab = _started(4)
    cut_off(lab, 0)
    lab.ask(1, lab.request(1, 1))
    pass_time(lab, 1_500, 0)
    assert views(lab)[1:] == [(1, True)] * 3
    assert all(executed_cseqs(lab, i) == [1] for i in (1, 2, 3))


def test_when_the_next_primary_is_dead_too_the_one_after_it_leads():
    lab = _started(7)
    cut_off(lab, 0, 1)
    lab.ask(2, lab.request(2, 1))
    pass_time(lab, 4_000, 0, 1)
    assert views(lab)[2:] == [(2, True)] * 5
    assert all(executed_cseqs(lab, i) == [1] for i in range(2, 7))


def test_a_healthy_cluster_suspects_nobody_with_or_without_work():
    lab = _started(4)
    pass_time(lab, 5_000)
    for cseq in range(1, 40):
        lab.order(cseq, gateway=cseq % 4)
        pass_time(lab, STEP)
    assert views(lab) == [(0, True)] * 4
    assert not any(bench.votes(Suspect) for bench in lab.bench.values())


def test_a_suspicious_replica_alone_moves_nothing_and_keeps_voting():
    lab = _started(4)
    lab.drop = lambda source, target, message: (
        target == 3 and source == 0 and isinstance(message, Heartbeat)
    )
    pass_time(lab, 3_000)
    assert {vote.view for vote in lab.bench[3].votes(Suspect)} == {0}
    assert views(lab) == [(0, True)] * 4
    lab.order(1)
    assert len(lab.bench[3].votes(Prepare)) == len(lab.bench[3].votes(Commit)) == 1


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 10])
def test_one_suspect_less_than_a_blocking_set_is_never_enough(n):
    lab = _started(n)
    blocking = lab.config(0).blocking
    for replica in range(blocking - 1):
        for _ in range(3):
            assert lab.give(n - 1, suspect(replica))
    assert views(lab)[-1] == (0, True)
    lab.give(n - 1, suspect(blocking - 1))
    assert views(lab)[-1] == (1, False)


def test_one_replica_alone_suspects_nobody():
    lab = _started(1, sync=False)
    lab.ask(0, lab.request(0, 1))
    pass_time(lab, 60_000)
    assert views(lab) == [(0, True)]


def test_a_suspect_is_repeated_while_the_cause_lasts_and_no_longer():
    lab = _started(4)
    cut_off(lab, 3)
    pass_time(lab, 3_000)
    assert len(lab.bench[3].votes(Suspect)) > 5
    join(lab)
    pass_time(lab, 500)
    count = len(lab.bench[3].votes(Suspect))
    pass_time(lab, 3_000)
    assert len(lab.bench[3].votes(Suspect)) == count


def test_a_primary_that_censors_one_gateway_is_replaced():
    lab = _started(4)
    lab.drop = lambda source, target, message: target == 0 and isinstance(message, Forward)
    lab.ask(3, lab.request(3, 1))
    for cseq in range(1, 30):
        lab.order(cseq, gateway=0)
        pass_time(lab, STEP)
    assert views(lab)[3] == (0, True), "what others order is progress for a while"
    pass_time(lab, LIMITS.timeout_max_ms)
    assert views(lab)[3][0] >= 1
    assert executed_cseqs(lab, 1).count(1) == 2, "gateway 0's request 1 and gateway 3's"


def test_a_primary_that_orders_requests_of_its_own_only_is_replaced():
    selfish_primary_is_replaced()


def test_a_request_others_overtake_again_and_again_makes_its_knowers_suspicious():
    lab = _started(4)
    lab.drop = lambda source, target, message: (
        target == 0
        and isinstance(message, Forward)
        and any(request.cseq == 1_000 for request in message.requests)
    )
    lab.ask(3, lab.request(3, 1_000))
    for cseq in range(1, 30):
        for gateway in (1, 2):
            lab.ask(gateway, lab.request(gateway, cseq))
        pass_time(lab, STEP)
        if views(lab)[3][0]:
            break
    assert views(lab)[3][0] == 1
    pass_time(lab, 1_000)
    assert 1_000 in executed_cseqs(lab, 1)


def test_an_equivocating_primary_is_suspected_at_once_by_who_has_the_proof():
    lab = _started(4)
    cut_off(lab, 0)
    for i in (1, 2, 3):
        for cseq in (1, 2):
            lab.give(i, lab.proposal(1, lab.request(0, cseq)))
    pass_time(lab, STEP, 0)
    assert views(lab)[1:] == [(1, True)] * 3


def test_a_slow_idle_primary_is_replaced():
    lab = _started(4)
    delay_ms = LIMITS.slow_primary_ms + STEP
    for cseq in range(1, 10):
        lab.ask(1, lab.request(1, cseq))
        lab.drop = lambda source, target, message: target == 0 and isinstance(message, Forward)
        pass_time(lab, delay_ms)
        join(lab)
        lab.give(0, Forward((lab.request(1, cseq),)), sender=1)
        lab.run()
    pass_time(lab, STEP)
    assert {vote.view for vote in lab.bench[1].votes(Suspect)} == {0}


def test_a_slow_primary_cannot_hide_behind_a_proposal_further_on():
    lab = _started(4)
    cut_off(lab, 0, 1)
    for sequence in range(1, 20, 2):
        lab.ask(1, lab.request(1, sequence))
        late, decoy = (
            proposal(lab, 0, s, batch_of(lab, lab.request(1, s))) for s in (sequence, sequence + 1)
        )
        lab.give(1, decoy)
        for _ in range(8):
            pass_time(lab, STEP, 0, 2, 3)
            lab.give(1, Heartbeat(0, 0, 0))
        lab.give(1, late)
        for message in (late, decoy):
            for kind, voters in ((Prepare, (2, 3)), (Commit, (0, 2, 3))):
                for i in voters:
                    lab.give(1, lab.vote(kind, i, message.sequence, message.digest))
    assert len(lab.bench[1].executed) == 16, "to the high watermark"
    assert lab.bench[1].alarms == ["suspects_primary"]


def test_a_proposal_too_far_in_the_future_is_refused_and_its_primary_replaced():
    lab = _started(4)
    cut_off(lab, 0)
    late = lab.now_ms + LIMITS.clock_skew_max_ms + 60_000
    for i in (1, 2, 3):
        lab.ask(i, lab.request(i, 1))
        lab.give(i, lab.proposal(1, lab.request(0, 1), ts_ms=late))
        assert not lab.bench[i].votes(Prepare)
    for _ in range(12):
        pass_time(lab, STEP, 0)
        for i in (1, 2, 3):
            lab.give(i, Heartbeat(0, 0, 0))
    assert views(lab)[1:] == [(1, True)] * 3


def test_requests_of_the_primarys_own_gateway_are_known_to_all_when_nobody_takes_its_proposals():
    lab = _started(4)
    lab.drop = lambda source, target, message: isinstance(message, PrePrepare) and source == 0
    lab.ask(0, lab.request(0, 1))
    pass_time(lab, 4_000)
    assert [view for view, _ in views(lab)] == [1] * 4
    assert all(executed_cseqs(lab, i) == [1] for i in range(4))


def test_back_off_grows_with_views_in_vain_and_ends_when_the_new_view_executes():
    back_off_ends_with_execution()


def test_a_batch_of_an_old_view_does_not_end_the_back_off():
    lab = _started(4)
    lab.drop = lambda source, target, message: isinstance(message, Commit) and target == 3
    lab.order(1)
    suspicion = lab.bench[3].replica._suspicion
    lab.give(3, timeout(0, range(2)), sender=1)
    before = suspicion.request_timeout_ms
    lab.drop = lambda source, target, message: 3 not in (source, target)
    for replica in (0, 1, 2):
        vote = lab.bench[replica].votes(Commit)[0]
        lab.give(3, vote)
    assert len(lab.bench[3].executed) == 1
    assert suspicion.request_timeout_ms == before


def test_no_timeout_grows_beyond_its_limit():
    patience_has_a_limit()


def test_a_replica_forgives_the_primary_its_own_sleep():
    lab = _started(4)
    lab.now_ms += 30 * 60_000
    lab.tick(3)
    lab.run()
    assert not lab.bench[3].votes(Suspect)


def test_what_happened_after_a_sleep_is_not_forgiven_with_it():
    own_sleep_excuses_nobody()


def test_a_request_does_not_age_while_its_replica_sleeps():
    lab = _started(4, limits=Limits(timeout_max_ms=5_000))
    cut_off(lab, 3)
    lab.ask(3, lab.request(3, 1))
    lab.now_ms += 60_000
    lab.tick(3)
    assert not lab.bench[3].votes(Suspect)


@pytest.mark.parametrize("kind", [Heartbeat, PrePrepare])
def test_only_what_the_primary_says_in_the_view_is_a_sign_of_life(kind):
    lab = _started(4)
    leave(lab, 0)
    cut_off(lab, 3)
    other = proposal(lab, 5, 1, batch_of(lab, lab.request(0, 1)))
    for _ in range(25):
        pass_time(lab, STEP, 0, 1, 2)
        assert lab.give(3, Heartbeat(0, 0, 1) if kind is Heartbeat else other)
    assert lab.bench[3].votes(Suspect)
