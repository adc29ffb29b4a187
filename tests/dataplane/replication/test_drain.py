"""How fast a backlog shrinks."""

from dataplane.replication.drain import STALE_MS, Drain


def drained() -> Drain:
    """Return one that saw 100 operations done every 100 ms for a while."""
    drain = Drain()
    for turn in range(20):
        drain.done(100, 1_000 + 100 * turn, is_backlog=True)
    return drain


def test_nothing_is_known_before_a_backlog_was_seen() -> None:
    drain = Drain()
    for turn in range(20):
        drain.done(1, 1_000 + 100 * turn, is_backlog=False)
    assert drain.wait_ms(1_000_000) == 0


def test_a_backlog_tells_how_long_more_of_it_takes() -> None:
    assert 950 <= drained().wait_ms(1_000) <= 1_050


def test_what_was_seen_is_still_known_when_the_backlog_is_gone_but_not_forever() -> None:
    drain = drained()
    drain.done(100, 3_000, is_backlog=False)
    assert drain.wait_ms(1_000) > 900
    drain.tick(3_001 + STALE_MS)
    assert drain.wait_ms(1_000) == 0
