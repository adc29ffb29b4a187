"""The audit log, the compliance modes and the rights of persons over the API, with a real node."""

import json
import re

import pytest

from dataplane.client import verify_audit
from portal.audit.models import AuditEvent
from portal.clusters.auditing import subjects
from portal.core.tenancy import tenant_context
from tests.portal.clusters.test_auditing import cluster, downloaded, page, persons
from tests.portal.single import client, nodes

__all__ = ["client", "cluster", "nodes", "page", "persons"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(cluster) -> str:
    return f"/api/v1/orgs/acme/clusters/{cluster.pk}/"


def send(page, method, path, body):
    return getattr(page, method)(path, body, content_type="application/json")


def test_records_come_page_by_page_newest_first_with_filters(page, api, client):
    for number in range(3):
        client.collection_put(f"rack-{number}", {})
    found = page.get(f"{api}audit?action=collection.put&limit=2").json()
    assert [row["collection"] for row in found["results"]] == ["rack-2", "rack-1"]
    assert found["results"][0]["actor_name"] == "this portal"
    assert found["log"]["level"] == "basic"
    older = page.get(found["next"]).json()
    assert older["results"][0]["collection"] == "rack-0"
    sequence = found["results"][0]["sequence"]
    only = page.get(f"{api}audit?from={sequence}&to={sequence}&collection=rack-2").json()
    assert len(only["results"]) == 1
    long = f"limit={'0' * 5}1{'0' * 5_000}"
    for wrong in ("limit=0", "limit=x", "limit=201", long, "since=yesterday", "after=x"):
        refused = page.get(f"{api}audit?{wrong}")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), wrong


def test_the_log_proves_itself_and_is_checked_here(page, api, client, nodes, cluster, acme):
    client.collection_put("shelves", {})
    answer = page.get(f"{api}audit.ndjson")
    assert answer.is_async, "otherwise all of it is held in memory first"
    assert verify_audit(downloaded(answer).splitlines(), nodes.anchor).is_whole
    checked = page.post(f"{api}audit/verify").json()
    assert (checked["proven"], checked["whole"], checked["validators"]) == (True, True, 1)
    with tenant_context(acme.schema_name):
        cluster.nodes.update(public_key="11" * 32)
    checked = page.post(f"{api}audit/verify").json()
    assert checked["proven"] is False
    assert checked["fault"]["code"]


def test_what_is_recorded_is_read_by_developers_and_set_by_admins(
    page, api, client, client_for, bob
):
    asked = {"level": "full", "retention_days": 400}
    assert send(page, "put", f"{api}audit/settings", asked).json()["retention_days"] == 400
    developer = client_for(bob)
    assert developer.get(f"{api}audit/settings").json()["level"] == "full"
    assert send(developer, "put", f"{api}audit/settings", asked).status_code == 403
    for wrong in ({"level": "none"}, {"retention_days": 0}, {"colour": "red"}):
        assert send(page, "put", f"{api}audit/settings", {**asked, **wrong}).status_code == 422
    client.audit_put(level="basic")


def test_modes_are_previewed_set_and_turned_off_with_the_name_typed(page, api, client, acme):
    path = f"{api}compliance"
    assert page.get(path).json()["modes"] == []
    preview = send(page, "put", path, {"modes": ["sox"], "dry_run": True}).json()
    assert preview["changes"][0]["words"] == "Level of the audit log: basic → full"
    assert client.compliance()["modes"] == []
    done = send(page, "put", path, {"modes": ["sox"]}).json()
    assert done["modes"] == ["sox"]
    assert next(row for row in done["catalogue"] if row["mode"] == "sox")["on"]
    refused = send(page, "put", path, {"modes": []})
    assert (refused.status_code, refused.json()["code"]) == (409, "name_not_confirmed")
    assert send(page, "put", path, {"modes": ["tax"]}).status_code == 422
    off = send(page, "put", path, {"modes": [], "confirm": "Things"})
    assert off.json()["modes"] == []
    with tenant_context(acme.schema_name):
        assert AuditEvent.objects.filter(action="cluster.compliance_set").count() == 2


def test_a_person_is_exported_and_erased(page, api, persons, acme, monkeypatch):
    answer = send(page, "post", f"{api}subjects/export", {"subject": "ada"})
    found = [json.loads(line) for line in downloaded(answer).splitlines()]
    assert sorted(item["document"]["_id"] for item in found) == ["o1", "o3"]
    asked = {"subject": "ada", "confirm": "Things"}
    refused = send(page, "post", f"{api}subjects/erase", {**asked, "confirm": "Thing"})
    assert (refused.status_code, refused.json()["code"]) == (409, "name_not_confirmed")
    wrong = send(page, "post", f"{api}subjects/erase", {**asked, "erasure": "x"})
    assert wrong.status_code == 422
    monkeypatch.setattr(subjects, "CALLS_PER_REQUEST", 1)
    many = [{"_id": f"m{number}", "who": "ada"} for number in range(2_100)]
    assert all(done["status"] == 201 for done in persons.import_documents("orders", many))
    begun = send(page, "post", f"{api}subjects/erase", asked)
    while begun.status_code == 202:
        more = {**asked, "erasure": begun.json()["erasure"]}
        begun = send(page, "post", f"{api}subjects/erase", more)
    assert begun.json()["removed"] == {"orders": 2_102}
    assert list(persons.subject_export("ada")) == []
    with tenant_context(acme.schema_name):
        told = [str(event.after) for event in AuditEvent.objects.all()]
    # As a word: the ids of erasures have these letters at times.
    assert not any(re.search(r"\bada\b", text) for text in told)


@pytest.mark.parametrize("path", ["audit", "audit.ndjson", "audit/settings", "compliance"])
def test_strangers_find_nothing_and_viewers_may_not(
    page, api, client_for, bob, charlie, acme, path
):
    from portal.organizations.models import Membership

    assert client_for(charlie).get(api + path).status_code == 404
    Membership.objects.filter(user=bob, organization=acme).update(role="viewer")
    assert client_for(bob).get(api + path).json()["permission"] == "audit:read"


@pytest.mark.parametrize("path", ["subjects/export", "subjects/erase"])
def test_persons_are_for_admins_only(api, client_for, bob, path):
    answer = send(client_for(bob), "post", api + path, {"subject": "ada", "confirm": "Things"})
    assert answer.json()["permission"] == "organization:write"


def test_a_cluster_that_does_not_answer_is_said_to(page, api, cluster, acme):
    with tenant_context(acme.schema_name):
        cluster.nodes.update(http_port=0)
    for path in ("audit", "audit.ndjson", "audit/settings", "compliance"):
        answer = page.get(api + path)
        assert (answer.status_code, answer.json()["code"]) == (503, "cluster_unreachable"), path
