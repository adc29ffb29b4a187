"""The page of usage and cost."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from portal.access.guards import require
from portal.clusters.models import Cluster
from portal.core import clock
from portal.metering.constants import AGE_MAX
from portal.metering.parameters import month_asked
from portal.metering.selectors import costs_of, dead_letter_count, month_of, usage_of
from portal.metering.types import Period
from portal.monitoring.selectors import observation_map
from portal.monitoring.types import Meter

WARN_PERCENT = 80
FULL_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """One enforced limit and how much of it is used."""

    kind: str
    used: int
    limit: int | None
    percent: int
    tone: str
    resets: str | None


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """The limits of one cluster as its nodes reported them."""

    cluster: Cluster
    at: datetime | None
    bars: tuple[Bar, ...]


@require_GET
def usage_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the month so far, limits, chart and cost."""
    access = require(request, "usage:read")
    now = clock.now()
    period = month_asked(request.GET.get("month"))
    can_see_costs = "billing:read" in access.permissions
    usage = usage_of(period)
    context = {
        "usage": usage,
        "costs": costs_of(period, now=now) if can_see_costs else None,
        "limits": limits_now(),
        "period": period,
        "now": now,
        "is_current": period.start <= now < period.end,
        "previous": month_of(period.start - timedelta(days=1)).start,
        "next": period.end if period.end <= now else None,
        "dead_letters": dead_letter_count(),
        "age_max_days": AGE_MAX.days,
        "elapsed_percent": elapsed_percent(period, now),
    }
    return render(request, "metering/usage.html", context)


def limits_now() -> list[ClusterLimits]:
    """Answer the limits of every living cluster: the very figures that its nodes enforce."""
    clusters = list(Cluster.objects.filter(deleted_at=None).order_by("name"))
    observed = observation_map([cluster.pk for cluster in clusters])
    found: list[ClusterLimits] = []
    for cluster in clusters:
        observation = observed.get(cluster.pk)
        if observation is None:
            found.append(ClusterLimits(cluster, None, ()))
            continue
        frame = observation.frame
        bars = (bar_of("calls", frame["calls"]), bar_of("storage", frame["storage"]))
        found.append(ClusterLimits(cluster, observation.at, bars))
    return found


def bar_of(kind: str, meter: Meter) -> Bar:
    """Work out how full a limit is."""
    used, limit = meter["used"], meter["limit"]
    # A limit of 0 is full from the start; no limit is never full.
    percent = 0 if limit is None else FULL_PERCENT if limit == 0 else used * FULL_PERCENT // limit
    tone = "red" if percent >= FULL_PERCENT else "yellow" if percent >= WARN_PERCENT else "primary"
    return Bar(
        kind=kind, used=used, limit=limit, percent=percent, tone=tone, resets=meter["resets"]
    )


def elapsed_percent(period: Period, now: datetime) -> int:
    """Answer how much of the period is over."""
    share = Decimal((now - period.start) / (period.end - period.start)) * FULL_PERCENT
    return max(0, min(FULL_PERCENT, int(share)))
