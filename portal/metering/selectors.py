"""Reading usage: the month's quantities, the series of the chart, and the running cost.

Every page and every route reads these functions, so that two pages never disagree.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from portal.billing.forecast import forecast
from portal.billing.rating import rate
from portal.billing.types import Forecast, Item, Statement
from portal.clusters.models import SERVING, Cluster
from portal.clusters.selectors import cluster_by_usage_token
from portal.core.tenancy import tenant_context
from portal.metering.constants import API_CALLS, NODE_SECONDS, STORAGE_BYTES
from portal.metering.models import DeadLetter, UsageDay, UsageHour
from portal.metering.types import Period, Source
from portal.organizations.models import Organization
from portal.plans.selectors import node_hour_price

GIGABYTE = Decimal(10**9)
SECONDS_PER_HOUR = Decimal(3600)
HOURS_PER_DAY = 24
_TOKEN = re.compile(r"aeu_([0-9a-f]{1,40})_[A-Za-z0-9_-]{16,128}", re.ASCII)

# Storage samples of the month: when the first began, when the last ended, per cluster.
_SAMPLED = """
SELECT cluster_id, min(window_start), max(window_end)
  FROM metering_usageevent
 WHERE meter = %(meter)s AND window_start >= %(start)s AND window_start < %(end)s
 GROUP BY cluster_id
"""


@dataclass(slots=True)
class ClusterUsage:
    """What one cluster used in a period."""

    cluster_id: UUID
    name: str
    plan: str
    is_deleted: bool
    calls: dict[str, int] = field(default_factory=dict)
    storage_byte_hours: Decimal = Decimal(0)
    # Time between the first and the last sample that no sample covers: not billed.
    storage_gap_seconds: int = 0
    node_hours: Decimal = Decimal(0)

    @property
    def calls_total(self) -> int:
        """Answer the calls of all classes."""
        return sum(self.calls.values())

    @property
    def storage_gb_hours(self) -> Decimal:
        """Answer the byte-hours in the unit people read."""
        return self.storage_byte_hours / GIGABYTE


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organization used in a period."""

    period: Period
    clusters: tuple[ClusterUsage, ...]

    @property
    def calls(self) -> dict[str, int]:
        """Answer the calls of all clusters by class."""
        total: dict[str, int] = {}
        for cluster in self.clusters:
            for name, count in cluster.calls.items():
                total[name] = total.get(name, 0) + count
        return dict(sorted(total.items()))

    @property
    def calls_total(self) -> int:
        """Answer all calls."""
        return sum(cluster.calls_total for cluster in self.clusters)

    @property
    def storage_byte_hours(self) -> Decimal:
        """Answer the byte-hours of all clusters."""
        return sum((cluster.storage_byte_hours for cluster in self.clusters), Decimal(0))

    @property
    def node_hours(self) -> Decimal:
        """Answer the node-hours of all clusters."""
        return sum((cluster.node_hours for cluster in self.clusters), Decimal(0))

    @property
    def storage_gap_seconds(self) -> int:
        """Answer the unmeasured seconds of all clusters."""
        return sum(cluster.storage_gap_seconds for cluster in self.clusters)

    @property
    def is_empty(self) -> bool:
        """Answer whether nothing was used."""
        return not self.clusters


@dataclass(frozen=True, slots=True)
class Point:
    """One bar of the chart."""

    start: datetime
    calls: int
    storage_gb_hours: Decimal
    node_hours: Decimal


@dataclass(frozen=True, slots=True)
class Costs:
    """The running month in money."""

    period: Period
    as_of: datetime
    statement: Statement
    forecast: Forecast


def source_by_token(token: str) -> Source | None:
    """Find the cluster that a usage token belongs to.

    The token names its schema, so that one look-up suffices; the secret is compared by hash and
    in constant time where the cluster is found.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    schema = f"org_{match[1]}"
    if not Organization.objects.filter(schema_name=schema).exists():
        return None
    with tenant_context(schema):
        cluster = cluster_by_usage_token(token)
        if cluster is None:
            return None
        return Source(schema=schema, cluster_id=cluster.pk, data_plane_id=cluster.data_plane_id)


def month_of(moment: datetime) -> Period:
    """Answer the UTC month that a moment lies in; its end is exclusive."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (start + timedelta(days=32)).replace(day=1)
    return Period(start, end)


def usage_of(period: Period) -> Usage:
    """Answer what each cluster used in a period of whole days (three statements)."""
    rows = (
        UsageDay.objects.filter(start__gte=period.start, start__lt=period.end)
        .values("cluster_id", "meter", "call_class")
        .annotate(quantity=Sum("quantity"), covered=Sum("covered_seconds"))
        .order_by("cluster_id", "meter", "call_class")
    )
    known = _cluster_names()
    found: dict[UUID, ClusterUsage] = {}
    covered: dict[UUID, Decimal] = {}
    for row in rows:
        cluster_id: UUID = row["cluster_id"]
        usage = found.setdefault(cluster_id, _usage_for(cluster_id, known))
        quantity: Decimal = row["quantity"]
        if row["meter"] == API_CALLS:
            usage.calls[row["call_class"] or "other"] = int(quantity)
        elif row["meter"] == NODE_SECONDS:
            usage.node_hours = quantity / SECONDS_PER_HOUR
        elif row["meter"] == STORAGE_BYTES:
            usage.storage_byte_hours = quantity / SECONDS_PER_HOUR
            covered[cluster_id] = row["covered"]
    for cluster_id, span in _sampled(period).items():
        if cluster_id in found:
            gap = Decimal(span) - covered.get(cluster_id, Decimal(0))
            found[cluster_id].storage_gap_seconds = max(0, int(gap))
    clusters = sorted(found.values(), key=lambda usage: (usage.is_deleted, usage.name))
    return Usage(period=period, clusters=tuple(clusters))


def series_of(period: Period, *, by: str, cluster_id: UUID | None = None) -> list[Point]:
    """Answer the usage of each hour or day of a period, empty ones included."""
    model, step = (UsageHour, timedelta(hours=1)) if by == "hour" else (UsageDay, timedelta(days=1))
    rows = model.objects.filter(start__gte=period.start, start__lt=period.end)
    if cluster_id is not None:
        rows = rows.filter(cluster_id=cluster_id)
    sums: dict[tuple[datetime, str], Decimal] = {}
    for row in rows.values("start", "meter").annotate(quantity=Sum("quantity")):
        sums[row["start"], row["meter"]] = row["quantity"]
    points: list[Point] = []
    start = period.start
    while start < period.end:
        points.append(
            Point(
                start=start,
                calls=int(sums.get((start, API_CALLS), 0)),
                storage_gb_hours=sums.get((start, STORAGE_BYTES), Decimal(0))
                / SECONDS_PER_HOUR
                / GIGABYTE,
                node_hours=sums.get((start, NODE_SECONDS), Decimal(0)) / SECONDS_PER_HOUR,
            )
        )
        start += step
    return points


def costs_of(period: Period, *, now: datetime) -> Costs:
    """Rate a month and say what it will come to."""
    usage = usage_of(period)
    by_plan = _prices(cluster.plan for cluster in usage.clusters)
    statement = rate(items_of(usage, by_plan))
    prices = {cluster.cluster_id: by_plan[cluster.plan] for cluster in usage.clusters}
    day = Period(max(period.start, now - timedelta(hours=HOURS_PER_DAY)), min(now, period.end))
    started = _first_hour(period)
    elapsed = _hours(Period(started, min(now, period.end))) if started else Decimal(0)
    return Costs(
        period=period,
        as_of=min(now, period.end),
        statement=statement,
        forecast=forecast(
            so_far=statement.total.amount,
            hours_elapsed=elapsed,
            hours_remaining=_hours(Period(now, period.end)),
            last_day=_cost_between(day, prices),
            per_hour_now=cost_per_hour_now() if now < period.end else Decimal(0),
        ),
    )


def items_of(usage: Usage, prices: Mapping[str, Decimal]) -> Iterable[Item]:
    """Turn quantities into items to rate: nodes are priced, calls and storage are in the plan."""
    for cluster in usage.clusters:
        name = f"{cluster.name} (deleted)" if cluster.is_deleted else cluster.name
        reference = str(cluster.cluster_id)
        yield Item(
            label=f"{name}: nodes, {cluster.plan.capitalize()} plan",
            quantity=cluster.node_hours,
            unit="node-hour",
            unit_price=prices[cluster.plan],
            reference=reference,
        )
        yield Item(
            label=f"{name}: API calls, in the plan",
            quantity=Decimal(cluster.calls_total),
            unit="call",
            unit_price=Decimal(0),
            reference=reference,
        )
        yield Item(
            label=f"{name}: storage, in the plan",
            quantity=cluster.storage_gb_hours,
            unit="GB-hour",
            unit_price=Decimal(0),
            reference=reference,
        )


def cost_per_hour_now() -> Decimal:
    """Answer what everything that runs at this moment costs in an hour."""
    running: dict[str, int] = dict(
        Cluster.objects.filter(status__in=SERVING, deleted_at=None)
        .values_list("plan")
        .annotate(node_count=Sum("desired_nodes"))
        .order_by("plan")
    )
    prices = _prices(running)
    return sum((prices[plan] * nodes for plan, nodes in running.items()), Decimal(0))


def dead_letter_count() -> int:
    """Answer how many reports came too late to count."""
    return DeadLetter.objects.count()


def _prices(plans: Iterable[str]) -> dict[str, Decimal]:
    """Answer the price of a node-hour by plan; a plan by contract has none here."""
    return {plan: node_hour_price(plan) or Decimal(0) for plan in sorted(set(plans))}


def _cost_between(span: Period, prices: Mapping[UUID, Decimal]) -> Decimal:
    """Answer the unrounded cost of the node-hours whose hour began in a span."""
    rows = (
        UsageHour.objects.filter(
            meter=NODE_SECONDS, start__gt=span.start - timedelta(hours=1), start__lt=span.end
        )
        .values("cluster_id")
        .annotate(quantity=Sum("quantity"))
        .order_by("cluster_id")
    )
    return sum(
        (
            row["quantity"] / SECONDS_PER_HOUR * prices.get(row["cluster_id"], Decimal(0))
            for row in rows
        ),
        Decimal(0),
    )


def _first_hour(period: Period) -> datetime | None:
    """Answer when in the period something first ran."""
    row = (
        UsageHour.objects.filter(meter=NODE_SECONDS, start__gte=period.start, start__lt=period.end)
        .order_by("start")
        .first()
    )
    return None if row is None else row.start


def _sampled(period: Period) -> dict[UUID, Decimal]:
    """Answer for how many seconds each cluster should have storage samples."""
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLED, {"meter": STORAGE_BYTES, "start": period.start, "end": period.end})
        return {
            cluster_id: Decimal(str((last - first).total_seconds()))
            for cluster_id, first, last in cursor.fetchall()
        }


def _cluster_names() -> dict[UUID, tuple[str, str, bool]]:
    """Answer name, plan and deletion of every cluster there ever was."""
    rows = Cluster.objects.values_list("pk", "name", "plan", "deleted_at")
    return {pk: (name, plan, deleted is not None) for pk, name, plan, deleted in rows}


def _usage_for(cluster_id: UUID, known: Mapping[UUID, tuple[str, str, bool]]) -> ClusterUsage:
    """Start the sums of a cluster."""
    name, plan, is_deleted = known.get(cluster_id, (cluster_id.hex[:8], "", True))
    return ClusterUsage(cluster_id=cluster_id, name=name, plan=plan, is_deleted=is_deleted)


def _hours(span: Period) -> Decimal:
    """Answer the length in hours."""
    seconds = Decimal(str((span.end - span.start).total_seconds()))
    return max(seconds, Decimal(0)) / SECONDS_PER_HOUR
