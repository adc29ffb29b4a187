"""The audit trail by API: filtered, exported whole, and closed to who may not read it."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from portal.accounts.services import token_create
from portal.audit import selectors
from portal.audit.models import AuditEvent
from portal.audit.services import audit_record, event_hash
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous"),
]
DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def api(alice):
    _, secret = token_create(user=alice, name="test")
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def trail(acme):
    """Seven facts on seven days, one of them with a name that a spreadsheet would run."""
    with tenant_context(acme.schema_name):
        for number in range(7):
            with clock.frozen(DAY + timedelta(days=number)):
                audit_record(
                    access_or_actor="robot@example.com" if number % 2 else "system",
                    action="cluster.created" if number else "key.created",
                    target_type="cluster" if number else "key",
                    target_id=number,
                    target_label="=1+1" if number == 3 else f"thing {number}",
                    after={"number": number},
                )


def body_of(answer) -> str:
    assert answer.status_code == 200
    assert answer.streaming
    return b"".join(answer).decode()


def exported(api, kind, query="") -> str:
    return body_of(api.get(f"/api/v1/orgs/acme/audit.{kind}{query}"))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_json_holds_the_whole_chain_in_its_order_over_many_pages(api, trail, monkeypatch, acme):
    monkeypatch.setattr(selectors, "EXPORT_PAGE_SIZE", 3)
    events = json.loads(exported(api, "json"))
    assert len(events) > 7
    assert [event["prev_hash"] for event in events[1:]] == [event["hash"] for event in events[:-1]]
    assert events[-1]["action"] == "audit.exported"
    with tenant_context(acme.schema_name):
        stored = AuditEvent.objects.get(hash=events[-1]["hash"])
        assert event_hash(stored) == events[-1]["hash"]


def test_csv_has_a_row_for_each_event_and_runs_nothing_in_a_spreadsheet(api, trail):
    answer = api.get("/api/v1/orgs/acme/audit.csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="audit-acme-' in answer["Content-Disposition"]
    rows = rows_of(body_of(answer))
    labels = [row["target"] for row in rows]
    assert "'=1+1" in labels
    assert not any(label.startswith("=") for label in labels)
    assert json.loads(rows[labels.index("thing 2")]["after"]) == {"number": 2}


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?action=key.", [0]),
        ("?actor=ROBOT", [1, 3, 5]),
        ("?target=cluster&since=2026-03-03T00:00:00Z&until=2026-03-05T00:00:00Z", [2, 3]),
        ("?target=cluster&until=2026-03-03", [1]),
        ("?actor=nobody", []),
    ],
)
def test_exports_obey_the_filters_of_the_list(api, trail, kind, query, numbers):
    text = exported(api, kind, query)
    if kind == "csv":
        found = [int(row["target_id"]) for row in rows_of(text)]
    else:
        found = [int(event["target"]["id"]) for event in json.loads(text)]
    assert found == numbers
    listed = api.get(f"/api/v1/orgs/acme/audit{query}").json()["results"]
    assert [int(event["target"]["id"]) for event in reversed(listed)] == numbers


@pytest.mark.parametrize("path", ["audit", "audit.csv", "audit.json"])
def test_a_moment_that_is_none_is_refused_in_words(api, acme, path):
    answer = api.get(f"/api/v1/orgs/acme/{path}?since=yesterday")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/since"


@pytest.mark.parametrize("path", ["audit", "audit.csv", "audit.json"])
def test_who_may_not_read_the_trail_gets_no_export(client_for, bob, charlie, acme, path):
    Membership.objects.filter(user=bob, organization=acme).update(role="viewer")
    refused = client_for(bob).get(f"/api/v1/orgs/acme/{path}")
    assert refused.status_code == 403
    assert refused.json()["permission"] == "audit:read"
    assert client_for(charlie).get(f"/api/v1/orgs/acme/{path}").status_code == 404
    assert Client().get(f"/api/v1/orgs/acme/{path}").status_code == 401


def test_a_token_without_the_scope_gets_no_export(alice, acme):
    _, secret = token_create(user=alice, name="narrow", scopes=["members:read"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert client.get("/api/v1/orgs/acme/audit.csv").status_code == 403


def test_the_activity_page_links_to_downloads_of_what_it_shows(client_for, alice, acme, trail):
    page = client_for(alice).get("/o/acme/activity/?action=key.&actor=").content.decode()
    for kind in ("csv", "json"):
        assert f'href="/api/v1/orgs/acme/audit.{kind}?action=key."' in page
    assert "number: 0" in page
