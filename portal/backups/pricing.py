"""What a schedule will take up in the long run, from the real sizes of past backups.

The schedule is played through to the day when as much goes as comes, for each moment at which the
week of a whole backup may begin; the fullest counts. What is kept needs the whole one of its week,
kept or not. Whole backups count as large as the last ones were, those with changes as they grew
with the time since their whole one, and the archive as it grew in the last day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db.models import Avg, Count, F, Min, Sum

from portal.backups.constants import WHOLE_EVERY
from portal.backups.models import Backup, BackupState, BackupTrigger
from portal.backups.retention import Grid, kept
from portal.backups.selectors import segment_list
from portal.clusters.models import Cluster
from portal.plans.selectors import backup_gb_price

GIGABYTE: Final = Decimal(10**9)
MEASURED_MAX: Final = 20
"""So many of the last backups of a kind say how large one is."""
DENSE_DAYS: Final = 100
"""So far back every backup of the schedule is played through; further back the last of periods."""
ARCHIVE_MEASURED: Final = timedelta(days=1)
ARCHIVE_SPAN_MIN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class StorageEstimate:
    """What a schedule takes up in the long run, and what that is on the price list."""

    count: int
    whole_count: int
    schedule_bytes: int
    archive_bytes: int
    # On demand and before restores: as much as there is now.
    other_bytes: int
    gb_price: Decimal | None
    # Of how many backups the sizes are known; without any nothing can be said.
    measured: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.schedule_bytes + self.archive_bytes + self.other_bytes

    @property
    def gb_price_words(self) -> str:
        """The price of a gigabyte with as many places as it has, two at least."""
        if self.gb_price is None:
            return ""
        places = max(2, -int(self.gb_price.normalize().as_tuple().exponent))
        return f"${self.gb_price:.{places}f}"

    @property
    def per_month(self) -> Decimal | None:
        """US dollars a month by the price list; None when it is by contract."""
        return None if self.gb_price is None else self.gb_price * self.total_bytes / GIGABYTE


def storage_estimate(
    cluster: Cluster, *, every_hours: int, grid: Grid, window_days: int, now: datetime
) -> StorageEstimate:
    """Say what a schedule will take up (four statements)."""
    sizes = _sizes(cluster)
    moments = _kept_moments(every_hours, grid, now)
    schedule_bytes, wholes = _fullest(moments, timedelta(hours=every_hours), sizes)
    return StorageEstimate(
        count=len(moments),
        whole_count=wholes,
        schedule_bytes=schedule_bytes,
        archive_bytes=_archive_bytes(cluster, every_hours, window_days, now),
        other_bytes=_other_bytes(cluster),
        gb_price=backup_gb_price(cluster.plan),
        measured=sizes.measured,
    )


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How large the last backups were."""

    whole: int
    changes: int
    # How long after their whole ones those with changes were taken, on the average.
    changes_after: timedelta
    measured: int

    def after(self, since: timedelta) -> int:
        """Return the size of one with the changes of such a time: no larger than a whole one."""
        if not self.changes_after:
            return self.changes
        return min(self.whole, round(self.changes * (since / self.changes_after)))


def _sizes(cluster: Cluster) -> _Sizes:
    stored = Backup.objects.filter(cluster=cluster, state=BackupState.STORED)
    found = []
    for rows in (stored.filter(base=None), stored.exclude(base=None)):
        last = rows.values_list("pk", flat=True)[:MEASURED_MAX]
        since = F("created_at") - F("base__created_at")
        found.append(
            Backup.objects.filter(pk__in=last).aggregate(
                size=Avg("size_bytes"), since=Avg(since), number=Count("pk")
            )
        )
    wholes, others = found
    whole = round(wholes["size"] or 0)
    # As long as there is none with changes only, one may be as large as a whole one.
    changes = round(others["size"] or 0) if others["number"] else whole
    measured = wholes["number"] + others["number"]
    return _Sizes(whole, changes, others["since"] or timedelta(), measured)


def _fullest(ages: list[timedelta], every: timedelta, sizes: _Sizes) -> tuple[int, int]:
    """Return what backups of such ages take up at most, and how many whole ones they need."""
    found = [(0, 0)]
    # The newest one is the first of its week, or the second, and so on.
    for place in range(-(-WHOLE_EVERY // every) if every else 0):
        since_whole = [(every * place - age) % WHOLE_EVERY for age in ages]
        weeks = {(every * place - age) // WHOLE_EVERY for age in ages}
        changes = sum(sizes.after(since) for since in since_whole if since)
        found.append((len(weeks) * sizes.whole + changes, len(weeks)))
    return max(found)


def _kept_moments(every_hours: int, grid: Grid, now: datetime) -> list[timedelta]:
    """Return how old the backups are that are kept once the schedule has run for long."""
    if not every_hours:
        return []
    every = timedelta(hours=every_hours)
    moments = {UUID(int=number): at for number, at in enumerate(_moments(every, grid, now))}
    return [now - moments[chosen] for chosen in kept(moments.items(), grid)]


def _moments(every: timedelta, grid: Grid, now: datetime) -> Iterator[datetime]:
    """Yield when backups were taken: all of the last months, of older ones the last of periods."""
    dense = int(timedelta(days=DENSE_DAYS) / every)
    yield from (now - every * number for number in range(dense))
    oldest = now - timedelta(days=DENSE_DAYS)
    ends = {_week_end(now, back) for back in range(grid.weekly + 1)}
    ends |= {_month_end(now, back) for back in range(grid.monthly + 1)}
    ends |= {datetime(now.year - back, 1, 1, tzinfo=UTC) for back in range(grid.yearly + 1)}
    for end in sorted(ends):
        if end < oldest:
            yield now - every * (int((now - end) / every) + 1)


def _week_end(now: datetime, back: int) -> datetime:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=now.isoweekday() - 1, weeks=back)


def _month_end(now: datetime, back: int) -> datetime:
    months = now.year * 12 + now.month - 1 - back
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _archive_bytes(cluster: Cluster, every_hours: int, window_days: int, now: datetime) -> int:
    rows = segment_list(cluster).filter(created_at__gt=now - ARCHIVE_MEASURED).order_by()
    sums = rows.aggregate(size=Sum("size_bytes"), since=Min("created_at"))
    if not window_days or sums["since"] is None:
        return 0
    # A backup older than the window is needed to begin with, so some more is kept.
    lasts = timedelta(days=window_days, hours=every_hours)
    return int(sums["size"] * (lasts / max(now - sums["since"], ARCHIVE_SPAN_MIN)))


def _other_bytes(cluster: Cluster) -> int:
    rows = Backup.objects.filter(cluster=cluster, state=BackupState.STORED, expired_at=None)
    others = rows.exclude(trigger=BackupTrigger.SCHEDULE).order_by()
    return int(others.aggregate(size=Sum("size_bytes"))["size"] or 0)
