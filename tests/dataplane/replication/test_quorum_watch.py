"""Losing a quorum, saying how old answers are, and coming back."""

import pytest

from dataplane.consensus.messages import Committed, Status
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.quorum_watch import GRACE_MS, STALE_MS, QuorumWatch

START_MS = 1_000_000


class Side:
    """Node 0 of a cluster; the test says whom it reaches."""

    def __init__(self, count: int = 6) -> None:
        self.members = tuple(range(count))
        self.reached = set(range(1, count))
        self.metrics = ReplicationMetrics()
        self.watch = QuorumWatch(0, lambda: self.members, self.reaches, self.metrics)
        self.now_ms = START_MS
        self.executed = 10
        self.hear(*self.reached)
        assert not self.pass_ms(0)

    def reaches(self, member: int) -> bool:
        return member == 0 or member in self.reached

    def hear(self, *peers: int, executed: int = 10) -> None:
        for peer in peers:
            status = Status(0, 0, 0, executed, peer, is_active=True, head=b"")
            self.watch.on_message(peer, status, 20, self.now_ms)

    def pass_ms(self, duration_ms: int) -> bool:
        self.now_ms += duration_ms
        return self.watch.update(self.now_ms, self.executed)


@pytest.fixture
def side() -> Side:
    return Side()


def test_a_node_is_cut_off_after_a_moment_without_a_quorum(side):
    side.reached = {1, 2}
    assert not side.pass_ms(10)
    assert not side.pass_ms(GRACE_MS - 1)
    assert not side.watch.is_cut_off
    assert side.pass_ms(1)
    assert side.watch.is_cut_off
    assert "reaches 3 of 6 members; a quorum is 4" in side.watch.explain()
    assert side.metrics.quorum_lost == 1
    assert side.pass_ms(5_000)
    assert side.metrics.quorum_lost == 1


def test_a_connection_that_is_dialled_again_refuses_nothing(side):
    for _ in range(5):
        side.reached = {1, 2}
        assert not side.pass_ms(GRACE_MS - 1)
        side.reached = {1, 2, 3}
        assert not side.pass_ms(1)
    assert side.metrics.quorum_lost == 0


def test_a_quorum_without_some_members_is_suspected_to_be_a_partition(side):
    side.reached = {1, 2, 3}
    assert not side.pass_ms(60_000)
    assert side.metrics.partitions_suspected == 1
    assert side.watch.status(side.now_ms).unreachable == (4, 5)
    side.reached = {1, 2, 3, 4, 5}
    side.pass_ms(1)
    assert side.metrics.partitions_suspected == 1


def test_a_node_has_rejoined_when_it_has_what_a_quorum_had_when_it_spoke(side):
    side.reached = {1}
    side.pass_ms(0)
    side.pass_ms(4_000)
    side.reached = {1, 2, 3}
    side.pass_ms(1_000)
    assert not side.watch.is_cut_off
    side.hear(1, 2, executed=40)
    side.pass_ms(100)
    assert side.metrics.rejoined == 0
    side.hear(3, executed=50)
    side.pass_ms(100)
    side.executed = 49
    side.pass_ms(100)
    assert side.metrics.rejoined == 0
    side.hear(1, 2, 3, executed=99)
    side.executed = 50
    side.pass_ms(100)
    assert side.metrics.rejoined == 1
    assert side.watch.last_recovery_ms == 400
    assert side.watch.last_outage_ms == 5_400


def test_what_peers_said_before_the_outage_does_not_count_for_rejoining(side):
    side.hear(1, 2, 3, 4, 5, executed=10)
    side.reached = set()
    side.pass_ms(1)
    side.pass_ms(GRACE_MS)
    side.reached = {1, 2, 3, 4, 5}
    side.pass_ms(1)
    assert side.metrics.rejoined == 0


def test_a_loss_in_the_midst_of_rejoining_is_the_same_outage(side):
    side.reached = set()
    side.pass_ms(1)
    side.pass_ms(GRACE_MS)
    side.reached = {1, 2, 3}
    side.pass_ms(1)
    side.reached = set()
    assert side.pass_ms(1)
    assert side.watch.is_cut_off
    assert side.metrics.quorum_lost == 1


def test_staleness_is_the_age_of_the_last_word_of_a_quorum(side):
    side.now_ms += 700
    side.hear(1, 2)
    assert side.watch.staleness_ms(side.now_ms) == 700
    side.hear(3)
    assert side.watch.staleness_ms(side.now_ms) == 0
    assert not side.watch.is_stale(side.now_ms + STALE_MS)
    assert side.watch.is_stale(side.now_ms + STALE_MS + 1)


def test_a_cluster_of_one_is_never_stale_nor_cut_off():
    side = Side(1)
    assert not side.pass_ms(1_000_000)
    assert side.watch.staleness_ms(side.now_ms) == 0
    assert not side.watch.is_stale(side.now_ms)


def test_a_start_without_peers_refuses_but_is_no_loss():
    side = Side()
    watch = QuorumWatch(0, lambda: (0, 1, 2, 3), lambda member: member == 0, side.metrics)
    assert not watch.update(START_MS, 0)
    assert watch.staleness_ms(START_MS) == 0
    assert watch.update(START_MS + GRACE_MS, 0)
    assert watch.staleness_ms(START_MS + GRACE_MS) == GRACE_MS
    assert watch.is_cut_off
    assert side.metrics.quorum_lost == 0


def test_the_quorum_is_that_of_the_members_there_are_now(side):
    side.reached = {1, 2}
    side.members = (0, 1, 2, 3)
    assert not side.pass_ms(GRACE_MS)
    assert side.watch.status(side.now_ms).unreachable == (3,)
    side.hear(5)
    side.pass_ms(0)
    assert 5 not in side.watch._heard


def test_what_catching_up_costs_is_counted(side):
    side.watch.on_message(1, Committed(()), 500, side.now_ms)
    assert side.metrics.catchup_bytes == 500
