"""The pages of clusters, without nodes: every state is shown, every refusal is said."""

from datetime import timedelta

import pytest

from portal.clusters import services
from portal.clusters.models import Cluster, Operation
from portal.core import clock
from portal.core.tenancy import tenant_context

HOME = "/o/acme/clusters/"


@pytest.fixture
def page(client_for, alice):
    return client_for(alice)


@pytest.fixture
def made(acme, alice, access_of):
    """Return a function that writes a cluster down; no worker is there to make it."""

    def make(name="Orders", **fields):
        with tenant_context(acme.schema_name):
            cluster, operation = services.cluster_create(
                access_of(alice), name=name, plan="starter", region="local-1", nodes=4
            )
            if fields:
                Operation.objects.filter(pk=operation.pk).update(
                    state="succeeded", finished_at=clock.now()
                )
                Cluster.objects.filter(pk=cluster.pk).update(**fields)
        return cluster, operation

    return make


FORM = {"name": "Orders", "plan": "starter", "region": "local-1", "nodes": "4"}


def test_an_empty_list_leads_to_the_wizard(page):
    body = page.get(HOME).content.decode()
    assert "No clusters yet" in body
    assert f"{HOME}new/" in body


def test_the_wizard_says_price_and_tolerance_of_every_size(page):
    body = page.get(f"{HOME}new/").content.decode()
    assert "not Byzantine-tolerant" in body
    assert "The most economical Byzantine size." in body
    assert '"per_month": {"amount": "38.67"' in body


def test_the_same_form_twice_makes_one_cluster(page, acme):
    data = {**FORM, "form_token": "f" * 32}
    first, second = page.post(f"{HOME}new/", data), page.post(f"{HOME}new/", data)
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    with tenant_context(acme.schema_name):
        assert Cluster.objects.count() == 1
        assert Operation.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "-"}, "letters, digits"),
        ({"nodes": "6"}, "is offered with"),
        ({"plan": "nonsense"}, "Select a valid choice"),
        ({"plan": "enterprise", "nodes": "4"}, "by contract"),
    ],
)
def test_the_wizard_says_what_is_wrong(page, acme, change, words):
    answer = page.post(f"{HOME}new/", {**FORM, **change})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    with tenant_context(acme.schema_name):
        assert Cluster.objects.count() == 0


def test_the_free_plan_has_one_cluster(page, made, acme):
    free = {"name": "One", "plan": "free", "region": "local-1", "nodes": "1"}
    assert page.post(f"{HOME}new/", free).status_code == 302
    answer = page.post(f"{HOME}new/", {**free, "name": "Two"})
    assert answer.status_code == 422
    assert "Free includes 1 cluster" in answer.content.decode()


TABS = ("", "state/", "connect/", "keys/", "accountability/", "operations/", "settings/")


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"status": "running", "ready_at": clock.now()},
        {
            "status": "degraded",
            "ready_at": clock.now(),
            "observed": {"ready": 2, "has_quorum": False},
        },
        {"status": "deleted", "deleted_at": clock.now(), "purge_at": clock.now()},
    ],
    ids=["provisioning", "running", "degraded", "recycled"],
)
def test_every_tab_shows_every_state(page, made, tab, fields):
    cluster, _ = made(**fields)
    assert page.get(f"{HOME}{cluster.pk}/{tab}").status_code == 200


def test_a_stopped_operation_shows_reason_and_way_out(page, made, acme):
    cluster, operation = made()
    with tenant_context(acme.schema_name):
        Operation.objects.filter(pk=operation.pk).update(
            state="needs_operator",
            error_code="deadline",
            error="Start the nodes did not come about in time.",
            next_action="Read the logs.",
        )
    body = page.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "did not come about in time" in body
    assert "Read the logs." in body
    assert f"{HOME}operations/{operation.pk}/retry/" in body
    assert f"{HOME}operations/{operation.pk}/cancel/" in body
    assert page.post(f"{HOME}operations/{operation.pk}/retry/").status_code == 302
    with tenant_context(acme.schema_name):
        assert Operation.objects.get(pk=operation.pk).state == "queued"


def test_deleting_asks_for_the_name_and_may_be_undone(page, made, acme):
    cluster, _ = made(status="running", ready_at=clock.now())
    answer = page.post(f"{HOME}{cluster.pk}/delete/", {"confirm": "orders"}, follow=True)
    assert "Type the name of the cluster" in answer.content.decode()
    answer = page.post(f"{HOME}{cluster.pk}/delete/", {"confirm": "Orders"}, follow=True)
    assert "Move to recycle bin" in answer.content.decode()
    with tenant_context(acme.schema_name):
        assert Cluster.objects.get(pk=cluster.pk).status == "deleting"
        past = clock.now() - timedelta(days=1)
        Operation.objects.update(state="succeeded", finished_at=clock.now())
        Cluster.objects.update(status="deleted", deleted_at=past, purge_at=past)
        assert services.clusters_purge_due(now=clock.now()) == 1
        assert services.clusters_purge_due(now=clock.now()) == 0


def test_a_viewer_sees_but_changes_nothing(client_for, bob, made, acme):
    from portal.organizations.models import Membership

    cluster, operation = made(status="running", ready_at=clock.now())
    Membership.objects.filter(user=bob, organization=acme).update(role="viewer")
    viewer = client_for(bob)
    for tab in TABS:
        body = viewer.get(f"{HOME}{cluster.pk}/{tab}")
        assert body.status_code == 200
        assert "/restart/" not in body.content.decode()
    for path in (
        f"{cluster.pk}/delete/",
        f"{cluster.pk}/undelete/",
        f"{cluster.pk}/rename/",
        f"{cluster.pk}/nodes/0/restart/",
        f"{cluster.pk}/keys/",
        f"operations/{operation.pk}/cancel/",
        f"operations/{operation.pk}/retry/",
        "new/",
    ):
        assert viewer.post(f"{HOME}{path}").status_code == 403
    assert viewer.get(f"{HOME}{cluster.pk}/nodes/0/log/").status_code == 403


def test_a_stranger_finds_nothing(client_for, charlie, made):
    cluster, operation = made()
    stranger = client_for(charlie)
    for path in (HOME, f"{HOME}{cluster.pk}/", f"{HOME}operations/{operation.pk}/"):
        assert stranger.get(path).status_code == 404
    own = path.replace("/o/acme/", "/o/globex/")
    assert stranger.get(own).status_code == 404


def test_making_a_key_without_nodes_says_that_nothing_was_made(page, made, acme):
    from portal.clusters.models import ApiKey

    cluster, _ = made(status="running", ready_at=clock.now())
    data = {"name": "app", "scopes": ["documents:read"], "collections": "*", "expires": ""}
    answer = page.post(f"{HOME}{cluster.pk}/keys/", data)
    assert answer.status_code == 422
    assert "The key was not made" in answer.content.decode()
    with tenant_context(acme.schema_name):
        assert ApiKey.objects.count() == 0
