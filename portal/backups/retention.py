"""Which backups of a schedule are kept: the newest of each of the last hours, days, weeks, ..."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

type Moment = tuple[UUID, datetime]


@dataclass(frozen=True, slots=True)
class Grid:
    """How many of the last hours, days, weeks, months and years keep a backup."""

    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year}-{week}"


_PERIODS: dict[str, Callable[[datetime], str]] = {
    "hourly": lambda at: at.strftime("%Y-%m-%d %H"),
    "daily": lambda at: at.strftime("%Y-%m-%d"),
    "weekly": _week,
    "monthly": lambda at: at.strftime("%Y-%m"),
    "yearly": lambda at: at.strftime("%Y"),
}


def kept(moments: Iterable[Moment], grid: Grid) -> dict[UUID, list[str]]:
    """Return what is kept, and as what; the newest of all is kept whatever the grid says.

    Periods without a backup do not count: a cluster that was paused for a month loses nothing.
    """
    newest_first = sorted(moments, key=lambda moment: moment[1], reverse=True)
    found: dict[UUID, list[str]] = {newest_first[0][0]: []} if newest_first else {}
    for name, period_of in _PERIODS.items():
        seen: set[str] = set()
        for backup, at in newest_first:
            period = period_of(at)
            if period not in seen and len(seen) < getattr(grid, name):
                seen.add(period)
                found.setdefault(backup, []).append(name)
    return found
