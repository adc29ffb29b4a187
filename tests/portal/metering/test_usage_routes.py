"""Routes and pages of usage and cost, and the door through which nodes report."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from usage_factories import PLANE, calls, storage, uptime

from portal.clusters.models import Cluster
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.metering.parameters import month_of
from portal.plans.selectors import node_hour_price

SECRET = "s" * 32
URL = "/internal/usage"


@pytest.fixture
def now():
    """The present hour, never in the first minutes of a month."""
    return clock.now().replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def token(acme):
    return f"aeu_{acme.schema_name.removeprefix('org_')}_{SECRET}"


@pytest.fixture
def cluster(acme, token):
    with tenant_context(acme.schema_name):
        return Cluster.objects.create(
            name="shop",
            plan="starter",
            region="local",
            status="running",
            desired_nodes=3,
            data_plane_id=PLANE,
            usage_token_hash=hashlib.sha256(token.encode()).hexdigest(),
            created_by="alice@example.com",
            created_at=clock.now(),
        )


def post(token, body, kind="application/cloudevents-batch+json"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Client(enforce_csrf_checks=True).post(URL, content, content_type=kind, headers=headers)


def test_a_batch_is_answered_event_by_event(cluster, token, now):
    start = now - timedelta(hours=1)
    answer = post(token, [calls(start, 5), calls(start, 6), calls(start, 5), {"id": "x"}])
    assert answer.status_code == 207
    states = [result["status"] for result in answer.json()["results"]]
    assert states == ["accepted", "conflict", "duplicate", "rejected"]
    assert post(token, [calls(start, 5)]).status_code == 200


def test_a_single_event_is_answered_by_status(cluster, token, now):
    start = now - timedelta(hours=1)
    kind = "application/cloudevents+json"
    assert post(token, calls(start, 5), kind).json()["status"] == "accepted"
    assert post(token, calls(start, 5), kind).json()["status"] == "duplicate"
    conflict = post(token, calls(start, 6), kind)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "usage_conflict")
    assert conflict["Content-Type"] == "application/problem+json"
    refused = post(token, {"id": "x"}, kind)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("wrong", ["", "aeu_00_x", "aeu_zz_" + SECRET, "aeu_00_" + SECRET, "a"])
def test_strangers_are_refused(cluster, token, wrong):
    assert post(wrong, []).status_code == 401
    assert post(token[:-1] + "t", []).status_code == 401


def test_limits_of_the_body(cluster, token, now):
    assert post(token, b"[" + b" " * (2 * 2**20)).status_code == 413
    assert post(token, b"{oops").status_code == 400
    assert post(token, b"[" * 100_000).status_code == 400
    assert post(token, []).status_code == 400
    assert post(token, [1] * 1001).status_code == 400
    assert post(token, [], "text/plain").status_code == 415
    assert Client().get(URL).status_code == 405


@pytest.fixture
def used(cluster, token, now):
    """An hour of three nodes, ten calls and a gigabyte for a minute."""
    start = max(now - timedelta(hours=1), month_of(clock.now()).start)
    batch = [uptime(start, 3600, seconds=3600, node=str(node)) for node in range(3)]
    batch += [calls(start, 10), storage(start, 10**9)]
    # The hour may still be running: say so with a clock that is past it.
    with clock.frozen(start + timedelta(hours=1)):
        assert post(token, batch).status_code == 200
    return start


def test_usage_and_costs_have_the_shapes_of_the_contract(used, alice, client_for):
    client = client_for(alice)
    usage = client.get("/api/v1/orgs/acme/usage").json()
    assert usage["total"]["calls"] == {"read": 10}
    assert usage["total"]["node_hours"] == "3"
    assert Decimal(usage["total"]["storage_byte_hours"]) == pytest.approx(
        Decimal(10**9) / 60, abs=Decimal("0.00001")
    )
    costs = client.get("/api/v1/orgs/acme/costs").json()
    assert set(costs) == {"period", "lines", "tax", "total", "forecast"}
    assert set(costs["forecast"]) == {"low", "likely", "high"}
    amount = (node_hour_price("starter") * 3).quantize(Decimal("0.01"))
    assert costs["total"] == {"amount": str(amount), "currency": "USD"}
    assert sum(Decimal(line["amount"]["amount"]) for line in costs["lines"]) == amount
    assert [set(line) for line in costs["lines"]] == [{"label", "quantity", "unit", "amount"}] * 3


def test_series_hold_the_same_sum_as_the_total(used, alice, client_for):
    client = client_for(alice)
    for by in ("day", "hour"):
        body = client.get(f"/api/v1/orgs/acme/usage?by={by}").json()
        assert sum(point["calls"] for point in body["series"]["points"]) == 10


def test_exports(used, alice, client_for):
    client = client_for(alice)
    usage = client.get("/api/v1/orgs/acme/usage.csv")
    assert usage["Content-Type"].startswith("text/csv")
    assert ",shop,starter,nodes,3,node-hour" in usage.content.decode()
    assert "Total" in client.get("/api/v1/orgs/acme/costs.csv").content.decode()


@pytest.mark.parametrize("query", ["month=nonsense", "month=2026-13", "by=year"])
def test_bad_parameters_are_named(acme, alice, client_for, query):
    answer = client_for(alice).get(f"/api/v1/orgs/acme/usage?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_strangers_see_nothing(used, charlie, client_for):
    client = client_for(charlie)
    for path in ("usage", "costs", "usage.csv", "costs.csv"):
        assert client.get(f"/api/v1/orgs/acme/{path}").status_code == 404
    assert client.get("/o/acme/usage/").status_code == 404


def test_the_page_shows_the_month(used, alice, client_for):
    page = client_for(alice).get("/o/acme/usage/").content.decode()
    assert "shop: nodes, Starter plan" in page
    assert "quota_exceeded" in page


def test_the_page_without_usage_says_what_to_do(acme, alice, client_for):
    page = client_for(alice).get("/o/acme/usage/")
    assert page.status_code == 200
    assert "Nothing was used" in page.content.decode()


def test_an_estimate_is_the_amount_that_is_later_rated(db):
    from portal.billing.rating import rate
    from portal.billing.types import Item
    from portal.plans.selectors import estimate

    for code, nodes in (("starter", 3), ("starter", 4), ("professional", 7)):
        promised = estimate(code, nodes)
        item = Item("x", Decimal(730 * nodes), "node-hour", node_hour_price(code))
        assert rate([item]).total.amount == promised.per_month.quantize(Decimal("0.01"))


def test_months(db):
    assert month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)).end == datetime(
        2027, 1, 1, tzinfo=UTC
    )
