"""How long a primary waits for company."""

from dataplane.consensus.config import Limits
from dataplane.consensus.pacing import PROBE_EVERY, Pace

LIMITS = Limits(batch_delay_ms=2, batch_wait_ms=20, batch_wait_max_ms=50)


def run(pace: Pace, first: int, count: int, *, ops: int, took_ms: int, left: int = 0) -> int:
    """Propose and execute some batches one after the other; return the time at the end."""
    now_ms = 0
    for sequence in range(first, first + count):
        pace.proposed(sequence, now_ms, ops)
        now_ms += took_ms
        pace.executed(sequence, now_ms, left)
    return now_ms


def test_a_lone_client_is_all_the_company_there_is() -> None:
    pace = Pace(LIMITS)
    run(pace, 1, 3, ops=1, took_ms=4)
    assert pace.company == 1


def test_what_came_together_is_waited_for_again_but_not_longer_than_an_instance_takes() -> None:
    pace = Pace(LIMITS)
    now_ms = run(pace, 1, PROBE_EVERY - 1, ops=30, took_ms=8)
    assert pace.company == 30
    assert now_ms + 2 <= pace.due_ms(now_ms - 5, is_idle=True) <= now_ms + 8


def test_now_and_then_all_who_could_come_are_waited_for_and_a_failure_ends_it() -> None:
    pace = Pace(LIMITS)
    run(pace, 1, PROBE_EVERY, ops=30, took_ms=8, left=32)
    assert pace.company == 62
    pace.proposed(PROBE_EVERY + 1, 1_000, 31)
    assert pace.company == 31


def test_the_wait_beside_a_batch_in_flight_is_bounded() -> None:
    pace = Pace(LIMITS)
    assert pace.due_ms(100, is_idle=False) == 120
    run(pace, 1, 40, ops=30, took_ms=400)
    assert pace.due_ms(100, is_idle=False) == 150


def test_batches_of_other_primaries_teach_nothing() -> None:
    pace = Pace(LIMITS)
    pace.proposed(5, 0, 30)
    pace.executed(7, 900, 0)
    assert pace.due_ms(100, is_idle=False) == 120
