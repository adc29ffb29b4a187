"""Usage and costs in the shapes that the API contract names, and as CSV."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from portal.billing.types import Money, MoneyJson
from portal.core.spreadsheets import csv_text, harmless
from portal.metering.selectors import ClusterUsage, Costs, Point, Usage
from portal.metering.types import Period

PLACES = Decimal("0.000001")


class PeriodJson(TypedDict):
    """A half-open span of time."""

    start: str
    end: str


class QuantitiesJson(TypedDict):
    """Sums of a period."""

    calls: dict[str, int]
    calls_total: int
    storage_byte_hours: str
    storage_gap_seconds: int
    node_hours: str


class ClusterUsageJson(QuantitiesJson):
    """Sums of one cluster."""

    id: str
    name: str
    plan: str
    deleted: bool


class PointJson(TypedDict):
    """One bar of the chart."""

    start: str
    calls: int
    storage_gb_hours: str
    node_hours: str


class SeriesJson(TypedDict):
    """The bars of the chart."""

    by: str
    points: list[PointJson]


class UsageJson(TypedDict):
    """Answer of `/orgs/{slug}/usage`."""

    period: PeriodJson
    total: QuantitiesJson
    clusters: list[ClusterUsageJson]
    series: SeriesJson


class LineJson(TypedDict):
    """One line of the running month."""

    label: str
    quantity: str
    unit: str
    amount: MoneyJson


class ForecastJson(TypedDict):
    """The band that the month will end in."""

    low: MoneyJson
    likely: MoneyJson
    high: MoneyJson


class CostsJson(TypedDict):
    """Answer of `/orgs/{slug}/costs`."""

    period: PeriodJson
    lines: list[LineJson]
    tax: MoneyJson
    total: MoneyJson
    forecast: ForecastJson


def usage_json(usage: Usage, *, by: str, points: Sequence[Point]) -> UsageJson:
    """Print a period's usage."""
    return {
        "period": period_json(usage.period),
        "total": _quantities(usage),
        "clusters": [
            {
                "id": str(cluster.cluster_id),
                "name": cluster.name,
                "plan": cluster.plan,
                "deleted": cluster.is_deleted,
                **_quantities(cluster),
            }
            for cluster in usage.clusters
        ],
        "series": {"by": by, "points": [_point(point) for point in points]},
    }


def costs_json(costs: Costs) -> CostsJson:
    """Print a month in money."""
    return {
        "period": period_json(costs.period),
        "lines": [
            {
                "label": line.label,
                "quantity": plain(line.quantity),
                "unit": line.unit,
                "amount": line.amount.as_json(),
            }
            for line in costs.statement.lines
        ],
        # Tax is decided when the invoice is made, by the buyer's place; nothing is charged before.
        "tax": Money(Decimal("0.00")).as_json(),
        "total": costs.statement.total.as_json(),
        "forecast": {
            "low": costs.forecast.low.as_json(),
            "likely": costs.forecast.likely.as_json(),
            "high": costs.forecast.high.as_json(),
        },
    }


def usage_csv(usage: Usage) -> str:
    """Print one row a cluster and meter."""
    rows: list[list[str]] = []
    for cluster in usage.clusters:
        name = [str(cluster.cluster_id), cluster.name, cluster.plan]
        rows += [
            [*name, f"calls.{kind}", str(count), "call"]
            for kind, count in sorted(cluster.calls.items())
        ]
        rows.append([*name, "storage", plain(cluster.storage_byte_hours), "byte-hour"])
        rows.append([*name, "storage.gap", str(cluster.storage_gap_seconds), "second"])
        rows.append([*name, "nodes", plain(cluster.node_hours), "node-hour"])
    header = ["cluster", "name", "plan", "meter", "quantity", "unit"]
    return _csv(usage.period, header, rows)


def costs_csv(costs: Costs) -> str:
    """Print one row a line, and the total."""
    rows = [
        [line.label, plain(line.quantity), line.unit, str(line.amount.amount), line.amount.currency]
        for line in costs.statement.lines
    ]
    total = costs.statement.total
    rows.append(["Total", "", "", str(total.amount), total.currency])
    return _csv(costs.period, ["label", "quantity", "unit", "amount", "currency"], rows)


def period_json(period: Period) -> PeriodJson:
    """Print a period."""
    return {"start": _moment(period.start), "end": _moment(period.end)}


def plain(value: Decimal) -> str:
    """Print a quantity with up to six places, without exponent and trailing zeros."""
    text = format(value.quantize(PLACES), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _quantities(usage: Usage | ClusterUsage) -> QuantitiesJson:
    """Print the sums."""
    return {
        "calls": usage.calls,
        "calls_total": usage.calls_total,
        "storage_byte_hours": plain(usage.storage_byte_hours),
        "storage_gap_seconds": usage.storage_gap_seconds,
        "node_hours": plain(usage.node_hours),
    }


def _point(point: Point) -> PointJson:
    """Print one bar."""
    return {
        "start": _moment(point.start),
        "calls": point.calls,
        "storage_gb_hours": plain(point.storage_gb_hours),
        "node_hours": plain(point.node_hours),
    }


def _moment(moment: datetime) -> str:
    """Print a moment as RFC 3339 in UTC."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _csv(period: Period, header: list[str], rows: Iterable[list[str]]) -> str:
    """Print rows with the period in front; cells cannot start a spreadsheet formula."""
    start, end = _moment(period.start), _moment(period.end)
    table = [["period_start", "period_end", *header]]
    table += [[start, end, *(harmless(cell) for cell in row)] for row in rows]
    return csv_text(table)
