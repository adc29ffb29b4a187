"""Which backups a grid keeps."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from portal.backups.retention import Grid, kept

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def every(hours: int, count: int) -> list[tuple[UUID, datetime]]:
    return [(UUID(int=n), NOW - timedelta(hours=hours * n)) for n in range(count)]


def test_the_newest_of_each_of_the_last_periods_is_kept():
    found = kept(every(6, 400), Grid(daily=3, weekly=2, monthly=2))
    assert found[UUID(int=0)] == ["daily", "weekly", "monthly"]
    times = dict(every(6, 400))
    daily = [times[pk] for pk, names in found.items() if "daily" in names]
    assert [at.strftime("%m-%d %H") for at in daily] == ["03-01 12", "02-28 18", "02-27 18"]
    weekly = [times[pk] for pk, names in found.items() if "weekly" in names]
    assert weekly[1].isoweekday() == 7
    monthly = [times[pk] for pk, names in found.items() if "monthly" in names]
    assert monthly[1].strftime("%m-%d %H") == "02-28 18"


def test_the_newest_is_kept_whatever_the_grid_says():
    assert list(kept(every(1, 9), Grid())) == [UUID(int=0)]
    assert kept([], Grid(daily=3)) == {}


def test_periods_without_a_backup_do_not_count():
    old = [(UUID(int=n), NOW - timedelta(days=100 + 10 * n)) for n in range(5)]
    assert len(kept(old, Grid(daily=3))) == 3


@given(
    st.lists(st.integers(0, 20_000), max_size=60, unique=True),
    st.builds(Grid, *[st.integers(0, 5)] * 5),
)
def test_no_more_is_kept_than_the_grid_allows_and_thinning_twice_changes_nothing(hours, grid):
    moments = [(UUID(int=h), NOW - timedelta(hours=h)) for h in hours]
    found = kept(moments, grid)
    limits = grid.hourly + grid.daily + grid.weekly + grid.monthly + grid.yearly
    assert len(found) <= max(limits, 1)
    for name in ("hourly", "daily", "weekly", "monthly", "yearly"):
        assert sum(name in names for names in found.values()) <= getattr(grid, name)
    left = [moment for moment in moments if moment[0] in found]
    assert kept(left, grid) == found
