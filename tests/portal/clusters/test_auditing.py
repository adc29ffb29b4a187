"""The page *Audit* and the compliance card, with a real node behind them."""

import json
import re

import pytest
from asgiref.sync import async_to_sync

from dataplane.client import verify_audit
from portal.audit.models import AuditEvent
from portal.clusters.auditing import services, subjects
from portal.clusters.models import Cluster
from portal.core.crypto import seal
from portal.core.tenancy import tenant_context
from tests.portal.single import client, cluster_row, nodes

__all__ = ["client", "nodes"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def cluster(nodes, acme) -> Cluster:
    with tenant_context(acme.schema_name):
        made = cluster_row(nodes)
        Cluster.objects.update(control_seed=seal(nodes._admin_seed))
        return made


@pytest.fixture
def home(cluster) -> str:
    return f"/o/acme/clusters/{cluster.pk}/"


@pytest.fixture
def page(client_for, alice):
    return client_for(alice)


@async_to_sync
async def downloaded(answer) -> bytes:
    return b"".join([piece async for piece in answer.streaming_content])


def test_the_page_shows_who_did_what_and_filters(page, home, client):
    client.collection_put("shelves", {})
    body = page.get(f"{home}audit/?collection=shelves").content.decode()
    assert "collection.put" in body
    assert "this portal" in body, "the key of the portal has a name"
    body = page.get(f"{home}audit/?collection=nothing").content.decode()
    assert "Nothing fits" in body


def test_the_portal_checks_the_log_itself(page, home, client):
    client.collection_put("shelves", {})
    body = page.post(f"{home}audit/").content.decode()
    assert "Complete and unaltered" in body


def test_a_log_that_another_cluster_signed_is_not_proven(page, home, cluster, acme, client):
    client.collection_put("shelves", {})
    with tenant_context(acme.schema_name):
        cluster.nodes.update(public_key="11" * 32)
    body = page.post(f"{home}audit/").content.decode()
    assert "Not proven" in body
    assert "Complete and unaltered" not in body


def test_the_download_proves_itself_offline(page, home, nodes, client):
    client.collection_put("shelves", {})
    answer = page.get(f"{home}audit/log.ndjson")
    assert answer.is_async, "otherwise all of it is held in memory first"
    lines = downloaded(answer).splitlines()
    assert verify_audit(lines, nodes.anchor).is_whole
    assert answer["Content-Disposition"] == 'attachment; filename="things-audit.ndjson"'


def test_the_list_costs_the_same_statements_however_long(
    page, home, client, django_assert_max_num_queries
):
    page.get(f"{home}audit/")
    for number in range(20):
        client.collection_put(f"shelf-{number}", {})
    with django_assert_max_num_queries(20):
        page.get(f"{home}audit/")


def test_what_is_recorded_is_set_by_admins_and_noted_here_too(
    page, home, client, client_for, bob, acme
):
    page.post(f"{home}audit/settings/", {"level": "full", "days": "400"})
    chain = client.audit(limit=1)["chain"]
    assert (chain["level"], chain["retention_ms"]) == ("full", 400 * 86_400_000)
    with tenant_context(acme.schema_name):
        assert AuditEvent.objects.filter(action="cluster.audit_set").exists()
    refused = client_for(bob).post(f"{home}audit/settings/", {"level": "basic", "days": "1"})
    assert refused.status_code == 403
    for days in ("0", "7001", "x", "0" * 8 + "1" + "0" * 5_000):
        told = page.post(f"{home}audit/settings/", {"level": "full", "days": days}, follow=True)
        assert "Keep records for 1 to 7000 days" in told.content.decode()
    assert client.audit(limit=1)["chain"]["level"] == "full"
    client.audit_put(level="basic")


def test_modes_are_previewed_set_and_turned_off_by_the_control_plane(page, home, client):
    shown = page.get(f"{home}settings/").content.decode()
    assert "PCI DSS" in shown
    preview = page.post(f"{home}compliance/", {"modes": ["sox"], "preview": "1"})
    assert "basic → full" in preview.content.decode()
    assert '<option value="xchacha20-poly1305"' in preview.content.decode()
    assert client.compliance()["modes"] == []
    page.post(f"{home}compliance/", {"modes": ["sox"], "apply": "1"})
    assert client.compliance()["modes"] == ["sox"]
    weaker = page.post(f"{home}audit/settings/", {"level": "basic", "days": "1"}, follow=True)
    assert "sox: the level of the audit log is at least full" in weaker.content.decode()
    off = page.post(f"{home}compliance/", {"preview": "1"}).content.decode()
    assert "Turned off: sox" in off
    page.post(f"{home}compliance/", {"apply": "1", "confirm": "Other"})
    assert client.compliance()["modes"] == ["sox"]
    page.post(f"{home}compliance/", {"apply": "1", "confirm": "Things"})
    assert client.compliance()["modes"] == []


def test_a_cluster_that_does_not_answer_is_said_to(page, home, cluster, acme):
    with tenant_context(acme.schema_name):
        cluster.nodes.update(http_port=0)
    assert "does not answer" in page.get(f"{home}audit/").content.decode()
    assert "does not answer" in page.get(f"{home}settings/").content.decode()
    answer = page.get(f"{home}audit/log.ndjson")
    assert answer.status_code == 302


def test_a_stranger_sees_nothing(client_for, charlie, home):
    for path in ("audit/", "audit/log.ndjson"):
        assert client_for(charlie).get(home + path).status_code == 404


def test_what_the_portal_checks_by_itself_is_bounded(cluster, acme, client, monkeypatch):
    for number in range(5):
        client.collection_put(f"shelf-{number}", {})
    monkeypatch.setattr(services, "CHECKED_MAX", 3)
    with tenant_context(acme.schema_name):
        proven = services.log_check(cluster)
    assert (proven.count, proven.is_whole) == (3, False)
    assert json.dumps(proven.kind)


@pytest.fixture
def persons(client):
    client.collection_put("orders", {"subject": "who"})
    for number in range(4):
        client.put("orders", f"o{number}", {"who": "ada" if number % 2 else "bob"})
    yield client
    client.collection_drop("orders")


def test_a_person_is_exported_as_a_file(page, home, persons):
    answer = page.post(f"{home}subjects/", {"subject": "ada", "export": "1"})
    found = [json.loads(line) for line in downloaded(answer).splitlines()]
    assert sorted(item["document"]["_id"] for item in found) == ["o1", "o3"]


def test_a_person_is_erased_when_the_name_of_the_cluster_is_typed(page, home, persons, acme):
    asked = {"subject": "ada", "erase": "1"}
    assert "type the name" in page.post(f"{home}subjects/", asked).content.decode()
    assert len(list(persons.subject_export("ada"))) == 2
    body = page.post(f"{home}subjects/", {**asked, "confirm": "Things"}).content.decode()
    assert "<strong>2</strong> documents of orders" in body
    assert list(persons.subject_export("ada")) == []
    with tenant_context(acme.schema_name):
        (event,) = AuditEvent.objects.filter(action="cluster.subject_erased")
    assert not re.search(r"\bada\b", json.dumps(event.after))


def test_an_erasure_that_is_not_over_goes_on_with_its_id(page, home, persons, acme, monkeypatch):
    monkeypatch.setattr(subjects, "CALLS_PER_REQUEST", 1)
    many = [{"_id": f"m{number}", "who": "ada"} for number in range(4_100)]
    assert all(done["status"] == 201 for done in persons.import_documents("orders", many))
    asked = {"subject": "ada", "erase": "1", "confirm": "Things"}
    body = page.post(f"{home}subjects/", asked).content.decode()
    assert "Not over yet" in body
    with tenant_context(acme.schema_name):
        (event,) = AuditEvent.objects.filter(action="cluster.subject_erasure_begun")
    assert not re.search(r"\bada\b", json.dumps(event.after)), (
        "what is gone is recorded before all is"
    )
    erasure = re.search(r'name="erasure" value="([0-9a-f]{32})"', body).group(1)
    body = page.post(f"{home}subjects/", {**asked, "erasure": erasure}).content.decode()
    assert "<strong>4102</strong> documents of orders" in body
    assert list(persons.subject_export("ada")) == []


def test_a_page_says_what_an_erasure_waits_for(page, home, monkeypatch):
    done = {"erasure": "0" * 32, "removed": {"orders": 2}, "is_over": False, "segments_left": 1}
    monkeypatch.setattr(subjects, "subject_erase", lambda *_, **__: done)
    asked = {"subject": "ada", "erase": "1", "confirm": "Things"}
    body = page.post(f"{home}subjects/", asked).content.decode()
    assert "1 segment of cold documents still holds what was removed; it is being made" in body
    done["segments_left"] = 2
    body = page.post(f"{home}subjects/", asked).content.decode()
    assert "2 segments of cold documents still hold what was removed; they are being made" in body


def test_only_admins_export_or_erase(client_for, bob, home, persons):
    answer = client_for(bob).post(f"{home}subjects/", {"subject": "ada", "export": "1"})
    assert answer.status_code == 403
