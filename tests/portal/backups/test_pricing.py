"""What a schedule takes up in the long run, and its price: from the real sizes of past backups."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from portal.backups.models import ArchiveSegment, Backup
from portal.backups.pricing import storage_estimate
from portal.backups.retention import Grid, kept
from portal.clusters.models import Cluster
from portal.core.tenancy import tenant_context
from tests.portal.single import cluster_row, nodes

__all__ = ["nodes"]

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
WHOLE, CHANGES = 100 * 10**9, 10**9


@pytest.fixture
def cluster(nodes, acme) -> Cluster:
    with tenant_context(acme.schema_name):
        made = cluster_row(nodes)
        Cluster.objects.update(plan="professional")
        return Cluster.objects.get(pk=made.pk)


@pytest.fixture
def stored(cluster, acme):
    """Return a function that writes down backups as if they were stored."""

    def make(size_bytes: int, **fields) -> Backup:
        with tenant_context(acme.schema_name):
            return Backup.objects.create(
                cluster=cluster,
                state="stored",
                trigger=fields.pop("trigger", "schedule"),
                requested_by="schedule",
                created_at=NOW,
                sequence=1,
                size_bytes=size_bytes,
                **fields,
            )

    return make


def estimate(cluster, acme, grid: Grid, *, every_hours=24, window_days=0, now=NOW):
    with tenant_context(acme.schema_name):
        return storage_estimate(
            cluster, every_hours=every_hours, grid=grid, window_days=window_days, now=now
        )


@pytest.mark.parametrize(
    ("every_hours", "grid", "count"),
    [
        (24, Grid(daily=7), 7),
        (1, Grid(hourly=24), 24),
        (1, Grid(hourly=24, daily=7), 24 + 6 - 1),
        (24, Grid(monthly=12), 12),
        (24, Grid(yearly=20), 20),
        (24, Grid(weekly=104), 104),
        (12, Grid(hourly=6), 6),
        (24, Grid(), 1),
        (0, Grid(daily=7), 0),
    ],
)
def test_as_many_are_kept_as_the_grid_says(cluster, acme, stored, every_hours, grid, count):
    stored(WHOLE)
    found = estimate(cluster, acme, grid, every_hours=every_hours)
    assert found.count == count
    assert found.whole_count <= max(found.count, 0)


def test_whole_ones_and_changes_count_as_large_as_they_were(cluster, acme, stored):
    base = stored(WHOLE)
    stored(CHANGES, base=base)
    stored(3 * CHANGES, base=base)
    found = estimate(cluster, acme, Grid(daily=7))
    # On six days of seven, seven days reach into two weeks of whole backups.
    assert (found.count, found.whole_count) == (7, 2)
    assert found.schedule_bytes == 2 * WHOLE + 6 * 2 * CHANGES
    assert found.measured == 3
    assert found.gb_price == Decimal("0.03")
    assert found.per_month == Decimal("0.03") * 212
    # Of each month one is kept, and each needs the whole one of its week; one of them is that.
    months = estimate(cluster, acme, Grid(monthly=12))
    assert (months.count, months.whole_count) == (12, 12)
    assert months.schedule_bytes == 12 * WHOLE + 11 * 2 * CHANGES
    one = estimate(cluster, acme, Grid())
    assert one.schedule_bytes == WHOLE + 2 * CHANGES


def test_changes_grow_with_the_time_since_the_whole_one_until_they_are_one(cluster, acme, stored):
    base = stored(WHOLE)
    stored(CHANGES, base=base)
    with tenant_context(acme.schema_name):
        Backup.objects.filter(base=None).update(created_at=NOW - timedelta(days=2))
    # The one that is kept is at the most six days from its whole one.
    assert estimate(cluster, acme, Grid()).schedule_bytes == WHOLE + 3 * CHANGES
    with tenant_context(acme.schema_name):
        Backup.objects.filter(base=None).update(created_at=NOW - timedelta(minutes=1))
    assert estimate(cluster, acme, Grid()).schedule_bytes == 2 * WHOLE


def test_a_day_of_hours_is_as_large_as_what_a_real_schedule_leaves(cluster, acme, stored):
    """Each backup is taken and thinned out in turn, for three weeks: the fullest moment counts."""
    base = stored(WHOLE)
    stored(CHANGES, base=base)
    grid = Grid(hourly=24, daily=7)
    kept_rows: list[tuple[UUID, datetime, datetime]] = []
    whole_at, fullest = NOW - timedelta(days=999), 0
    for hour in range(21 * 24):
        at = NOW + timedelta(hours=hour)
        if at - whole_at >= timedelta(days=7):
            whole_at = at
        kept_rows.append((UUID(int=hour), at, whole_at))
        keeping = kept([(pk, taken) for pk, taken, _ in kept_rows], grid)
        kept_rows = [row for row in kept_rows if row[0] in keeping]
        changes = sum(taken != whole for _, taken, whole in kept_rows)
        weeks = len({whole for *_, whole in kept_rows})
        fullest = max(fullest, weeks * WHOLE + changes * CHANGES)
    found = estimate(cluster, acme, grid, every_hours=1)
    assert abs(found.schedule_bytes - fullest) <= 2 * CHANGES


def test_the_archive_grows_as_it_did_and_what_is_on_demand_is_added(cluster, acme, stored):
    stored(WHOLE)
    stored(5, trigger="manual")
    stored(7, trigger="safety", expired_at=NOW)
    with tenant_context(acme.schema_name):
        for hours, size in ((30, 999), (12, 600), (6, 600)):
            at = NOW - timedelta(hours=hours)
            ArchiveSegment.objects.create(
                cluster=cluster,
                first=100 - hours,
                last=100 - hours,
                run_first=1,
                first_at=at,
                last_at=at,
                size_bytes=size,
                created_at=at,
                stored_at=at,
            )
    found = estimate(cluster, acme, Grid(daily=1), window_days=2)
    assert found.other_bytes == 5
    assert found.archive_bytes == 1200 * (2 * 24 + 24) // 12
    assert estimate(cluster, acme, Grid(daily=1)).archive_bytes == 0


def test_the_page_and_the_api_say_it(client_for, alice, cluster, acme, stored):
    page = client_for(alice)
    home = f"/o/acme/clusters/{cluster.pk}/backups/"
    assert "known after the first backup" in page.get(home).content.decode()
    stored(WHOLE)
    assert "By the price list" in page.get(home).content.decode()
    grid = {"hourly": 0, "daily": 7, "weekly": 0, "monthly": 0, "yearly": 0}
    form = {"every_hours": 24, **grid, "window_days": 0}
    shown = page.get(f"{home}policy/storage/", form).content.decode()
    assert "800 GB" in shown
    assert "$24.00 a month" in shown
    assert "at $0.03 for a gigabyte" in shown
    wrong = page.get(f"{home}policy/storage/", {**form, "daily": 91}).content.decode()
    assert "make no schedule" in wrong
    api = f"/api/v1/orgs/acme/clusters/{cluster.pk}/backups/policy/preview"
    asked = {"every_hours": 24, "keep": {"daily": 7}, "window_days": 0}
    said = page.post(api, asked, content_type="application/json").json()
    assert said["bytes"]["total"] == 8 * WHOLE
    assert said["price_per_month"] == {"amount": "24.0000", "currency": "USD"}
    assert said["billed"] is False


def test_on_a_plan_by_contract_there_is_no_price(cluster, acme, stored):
    stored(WHOLE)
    with tenant_context(acme.schema_name):
        Cluster.objects.update(plan="enterprise")
        cluster.refresh_from_db()
    assert estimate(cluster, acme, Grid(daily=1)).per_month is None
