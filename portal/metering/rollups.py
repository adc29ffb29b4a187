"""Roll-ups by hour and day: a pure function of the stored events, recomputed where they changed.

Counters add up. Storage is a gauge: a sample counts for its window, until the next sample if that
comes sooner, and over a hole of at most two windows; a longer hole stays a gap that costs nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max, Min

from portal.metering.constants import CARRY_WINDOWS_MAX, COUNTERS, STORAGE_BYTES, WINDOW_MAX
from portal.metering.models import UsageEvent
from portal.metering.types import Period

type Parameters = dict[str, UUID | datetime | int | str | list[str]]

HOUR = timedelta(hours=1)
# How far a storage sample can reach: its own window and the hole it may bridge.
REACH = WINDOW_MAX * (1 + CARRY_WINDOWS_MAX)

_DELETE_HOURS = """
DELETE FROM metering_usagehour
 WHERE cluster_id = %(cluster)s AND meter = ANY(%(meters)s)
   AND start >= %(lo)s AND start < %(hi)s
"""

_COUNTERS = """
INSERT INTO metering_usagehour
       (cluster_id, meter, call_class, start, quantity, covered_seconds)
SELECT cluster_id, meter, call_class, date_trunc('hour', window_start, 'UTC'), sum(value), 0
  FROM metering_usageevent
 WHERE cluster_id = %(cluster)s AND meter = ANY(%(meters)s)
   AND window_start >= %(lo)s AND window_start < %(hi)s
 GROUP BY 1, 2, 3, 4
"""

_STORAGE = """
WITH samples AS (
  SELECT window_start, window_end, value,
         lead(window_start) OVER (ORDER BY window_start, window_end, source, event_id) AS later
    FROM metering_usageevent
   WHERE cluster_id = %(cluster)s AND meter = ANY(%(meters)s)
     AND window_start >= %(lo)s::timestamptz - %(reach)s::int * interval '1 second'
     AND window_start < %(hi)s::timestamptz + %(reach)s::int * interval '1 second'
), spans AS (
  SELECT window_start, value,
         CASE WHEN later <= window_end + %(carry)s::int * (window_end - window_start)
              THEN later ELSE window_end END AS until
    FROM samples
), hours AS (
  SELECT h AS start
    FROM generate_series(%(lo)s::timestamptz, %(hi)s::timestamptz - interval '1 microsecond',
                         interval '1 hour') AS h
), parts AS (
  SELECT hours.start, spans.value,
         extract(epoch FROM least(until, hours.start + interval '1 hour')
                            - greatest(window_start, hours.start)) AS seconds
    FROM spans JOIN hours ON window_start < hours.start + interval '1 hour' AND until > hours.start
)
INSERT INTO metering_usagehour
       (cluster_id, meter, call_class, start, quantity, covered_seconds)
SELECT %(cluster)s::uuid, %(meter)s::text, '', start, sum(value * seconds), sum(seconds)
  FROM parts GROUP BY start
"""

_DELETE_DAYS = """
DELETE FROM metering_usageday
 WHERE cluster_id = %(cluster)s AND start >= %(lo)s AND start < %(hi)s
"""

_DAYS = """
INSERT INTO metering_usageday
       (cluster_id, meter, call_class, start, quantity, covered_seconds)
SELECT cluster_id, meter, call_class, date_trunc('day', start, 'UTC'),
       sum(quantity), sum(covered_seconds)
  FROM metering_usagehour
 WHERE cluster_id = %(cluster)s AND start >= %(lo)s AND start < %(hi)s
 GROUP BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class Touched:
    """The spans of time in which events of a cluster changed."""

    counters: Period | None
    storage: Period | None


def rollups_refresh(cluster_id: UUID, touched: Touched) -> None:
    """Recompute the hours and days that changed events reach (at most six statements)."""
    spans: list[Period] = []
    with connection.cursor() as cursor:
        if touched.counters is not None:
            span = _whole_hours(touched.counters)
            spans.append(span)
            counters: Parameters = {**_bounds(cluster_id, span), "meters": list(COUNTERS)}
            cursor.execute(_DELETE_HOURS, counters)
            cursor.execute(_COUNTERS, counters)
        if touched.storage is not None:
            wide = Period(touched.storage.start - REACH, touched.storage.end + REACH)
            span = _whole_hours(wide)
            spans.append(span)
            storage: Parameters = {
                **_bounds(cluster_id, span),
                "meters": [STORAGE_BYTES],
                "meter": STORAGE_BYTES,
                "reach": int(REACH.total_seconds()),
                "carry": CARRY_WINDOWS_MAX,
            }
            cursor.execute(_DELETE_HOURS, storage)
            cursor.execute(_STORAGE, storage)
        if spans:
            days = _whole_days(Period(min(s.start for s in spans), max(s.end for s in spans)))
            bounds = _bounds(cluster_id, days)
            cursor.execute(_DELETE_DAYS, bounds)
            cursor.execute(_DAYS, bounds)


def rollups_rebuild(cluster_id: UUID) -> None:
    """Compute every roll-up of a cluster anew from its events."""
    bounds = UsageEvent.objects.filter(cluster_id=cluster_id).aggregate(
        first=Min("window_start"), last=Max("window_end")
    )
    if bounds["first"] is None:
        return
    whole = Period(bounds["first"], bounds["last"])
    with transaction.atomic():
        lock_cluster(cluster_id)
        rollups_refresh(cluster_id, Touched(counters=whole, storage=whole))


def lock_cluster(cluster_id: UUID) -> None:
    """Let one transaction at a time change a cluster's usage, so that no roll-up loses a row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"usage:{cluster_id.hex}"]
        )


def hour_of(moment: datetime) -> datetime:
    """Answer the start of the hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _bounds(cluster_id: UUID, span: Period) -> Parameters:
    """Name a cluster and a span to a statement."""
    return {"cluster": cluster_id, "lo": span.start, "hi": span.end}


def _whole_hours(span: Period) -> Period:
    """Widen a span to whole UTC hours."""
    end = hour_of(span.end)
    return Period(hour_of(span.start), end if end == span.end else end + HOUR)


def _whole_days(span: Period) -> Period:
    """Widen a span to whole UTC days."""
    start = hour_of(span.start).replace(hour=0)
    end = hour_of(span.end).replace(hour=0)
    return Period(start, end if end == span.end else end + timedelta(days=1))
