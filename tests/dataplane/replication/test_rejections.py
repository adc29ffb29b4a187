"""What was refused: counted exactly, kept within bounds, told in order."""

from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.notices import Notices
from dataplane.replication.rejections import COUNTED_MAX, KEPT_MAX, SAME_MS, Rejections


class Time:
    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms


def test_a_flood_is_one_entry_a_second_and_counted_in_full():
    time = Time()
    rejections = Rejections(time)
    for _ in range(50):
        rejections.note(3, "Commit", "unverified")
    rejections.note(2, "Commit", "unverified")
    time.ms += SAME_MS
    rejections.note(3, "Commit", "unverified")
    entries = rejections.since(0, 10)
    assert [(e.number, e.sender, e.count, e.at_ms) for e in entries] == [
        (1, 3, 50, 1_000),
        (2, 2, 1, 1_000),
        (3, 3, 1, 2_000),
    ]
    assert rejections.counts == {(3, "Commit", "unverified"): 51, (2, "Commit", "unverified"): 1}
    assert [e.number for e in rejections.since(1, 1)] == [2]
    assert rejections.newest == 3


def test_memory_is_bounded_whatever_is_sent():
    time = Time()
    rejections = Rejections(time)
    for turn in range(KEPT_MAX + 10):
        time.ms += SAME_MS
        rejections.note(3, "Commit", "unverified")
        rejections.note(turn, "frame", "malformed")
    assert len(rejections.since(0, 10_000)) == KEPT_MAX
    assert len(rejections.counts) == COUNTED_MAX


def test_a_proposal_from_the_future_is_held_against_the_primary_and_other_alarms_against_nobody():
    notices = Notices(ReplicationMetrics(), Time())
    notices.alarm("clock_skew", "proposal 7 has a time in the future", 2)
    notices.alarm("diverged", "own root differs", 2)
    assert notices.rejections.counts == {(2, "PrePrepare", "time_in_future"): 1}
    assert notices.alarms == {"clock_skew": 1, "diverged": 1}


def test_a_fragment_that_is_none_is_held_against_who_sent_it_and_raises_an_alarm():
    notices = Notices(ReplicationMetrics(), Time())
    notices.reject(3, "FragmentAnswer", "wrong_digest")
    notices.reject(3, "FragmentAnswer", "malformed")
    assert notices.alarms == {"wrong_fragment": 1}
    assert notices.rejections.counts[3, "FragmentAnswer", "wrong_digest"] == 1
