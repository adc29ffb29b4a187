"""Asking for another size or another node, without nodes: prices, refusals, permissions, pages."""

import pytest

from portal.clusters import services
from portal.clusters.models import Cluster, Membership, Node, Operation
from portal.core import clock
from portal.core.tenancy import tenant_context

API = "/api/v1/orgs/acme/clusters"
HOME = "/o/acme/clusters/"
SEEN = {"ready": 4, "nodes": 4, "has_quorum": True}


@pytest.fixture
def api(client_for, alice):
    return client_for(alice)


@pytest.fixture
def made(acme, alice, access_of):
    """Return a function that writes a cluster of four down, as if it had been made."""

    def make(**fields) -> Cluster:
        with tenant_context(acme.schema_name):
            cluster, operation = services.cluster_create(
                access_of(alice), name="Orders", plan="starter", region="local-1", nodes=4
            )
            for index in range(4):
                key, port = f"{index + 1:02x}" * 32, 20_100 + index
                Node.objects.create(
                    cluster=cluster,
                    index=index,
                    name=f"n{index}",
                    public_key=key,
                    host="127.0.0.1",
                    http_port=port,
                    state="ready",
                )
            now = clock.now()
            Operation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=now)
            known = {"status": "running", "ready_at": now, "observed": SEEN, "genesis": {"x": 1}}
            Cluster.objects.filter(pk=cluster.pk).update(**known | fields)
        return cluster

    return make


def post(api, path, body=None):
    return api.post(f"{API}/{path}", body or {}, content_type="application/json")


def test_scaling_answers_202_and_says_what_is_wanted(api, made, acme):
    cluster = made()
    answer = post(api, f"{cluster.pk}/scale", {"nodes": 7})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["operation"]["kind"], body["operation"]["status"]) == ("scale", "queued")
    assert body["operation"]["cost_delta_per_hour"]["amount"].startswith("0.0")
    assert (body["cluster"]["status"], body["cluster"]["desired"]) == ("scaling", {"nodes": 7})
    # What is promised is what the present members can keep.
    assert (body["cluster"]["observed"]["f"], body["cluster"]["fault_budget"]["nodes"]) == (1, 4)
    again = post(api, f"{cluster.pk}/scale", {"nodes": 3})
    assert (again.status_code, again.json()["code"]) == (409, "cluster_state")
    asked = post(api, f"{cluster.pk}/nodes/0/replace")
    assert (asked.status_code, asked.json()["code"]) == (409, "cluster_state")


@pytest.mark.parametrize(
    ("nodes", "status", "code"),
    [
        (2, 422, "invalid"),
        (5, 422, "node_count_not_offered"),
        (99, 422, "invalid"),
        (4, 409, "cluster_state"),
        ("four", 422, "invalid"),
    ],
)
def test_sizes_are_those_of_the_plan(api, made, nodes, status, code):
    answer = post(api, f"{made().pk}/scale", {"nodes": nodes})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "paused"}, "resume it first"),
        ({"status": "deleted", "deleted_at": clock.now()}, "restore it first"),
        ({"status": "provisioning"}, "while it runs"),
        ({"control_seed": b""}, "cannot change their nodes"),
        ({"observed": {"ready": 2, "has_quorum": False}}, "which is 3"),
    ],
    ids=["paused", "deleted", "provisioning", "old", "no quorum"],
)
def test_what_forbids_a_change_is_said_by_api_and_page(api, made, fields, words):
    cluster = made(**fields)
    for path, body in (("scale", {"nodes": 7}), ("nodes/0/replace", None)):
        answer = post(api, f"{cluster.pk}/{path}", body)
        assert answer.status_code == 409
        assert words in answer.json()["detail"]
    page = api.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "/replace/" not in page
    if "deleted_at" not in fields:
        assert words in page
        assert "<fieldset disabled>" in page


def test_replacing_keeps_size_price_and_status(api, made, acme):
    cluster = made()
    answer = post(api, f"{cluster.pk}/nodes/2/replace")
    assert answer.status_code == 202
    body = answer.json()
    assert body["operation"]["kind"] == "replace_node"
    assert body["operation"]["cost_delta_per_hour"]["amount"] == "0.0000"
    assert (body["cluster"]["status"], body["cluster"]["desired"]) == ("running", {"nodes": 4})
    assert post(api, f"{cluster.pk}/nodes/9/replace").status_code == 404


def test_the_estimate_says_price_and_tolerance_before_and_after(api, made):
    answer = post(api, f"{made().pk}/estimate", {"nodes": 7}).json()
    assert (answer["nodes"], answer["present"]["nodes"]) == (7, 4)
    assert answer["present"]["per_month"]["amount"] == "38.67"
    assert answer["difference_per_month"]["amount"] == "29.00"
    assert (answer["fault_budget"]["f"], answer["present"]["fault_budget"]["f"]) == (2, 1)


def test_a_viewer_is_told_which_permission_is_missing_and_a_stranger_nothing(
    made, client_for, bob, charlie, acme
):
    from portal.organizations.models import Membership as Role

    cluster = made()
    Role.objects.filter(user=bob, organization=acme).update(role="viewer")
    viewer, stranger = client_for(bob), client_for(charlie)
    for path, body in (("scale", {"nodes": 7}), ("nodes/0/replace", None)):
        answer = post(viewer, f"{cluster.pk}/{path}", body)
        assert (answer.status_code, answer.json()["permission"]) == (403, "clusters:write")
        assert post(stranger, f"{cluster.pk}/{path}", body).status_code == 404
        page = f"{HOME}{cluster.pk}/{path}/"
        assert viewer.post(page, {"nodes": "7"}).status_code == 403
        assert stranger.post(page, {"nodes": "7"}).status_code == 404
    body = viewer.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "/replace/" not in body
    assert "Review the change" not in body


def test_the_page_shows_what_changes_before_it_is_confirmed(api, made, acme):
    cluster = made()
    page = api.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "Review the change" in page
    assert "Starter goes up to 7 nodes" in page
    review = api.get(f"{HOME}{cluster.pk}/scale/?nodes=7").content.decode()
    assert "$38.67" in review
    assert "$67.67" in review
    assert "$29.00 more" in review
    assert "Survives 2 malicious or crashed nodes" in review
    less = api.get(f"{HOME}{cluster.pk}/scale/?nodes=3").content.decode()
    assert "It survives less than now." in less
    assert "$9.67 less" in less
    for text in ("4", "5", "", "x"):
        assert api.get(f"{HOME}{cluster.pk}/scale/?nodes={text}").status_code == 302
    answer = api.post(f"{HOME}{cluster.pk}/scale/", {"nodes": "7"}, follow=True)
    assert "Change size from 4 to 7 nodes" in answer.content.decode()
    page = api.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "Another operation is not over yet" in page
    assert "to be" in page


def test_cancelling_is_refused_once_the_order_is_out(api, made, acme):
    cluster = made()
    operation = post(api, f"{cluster.pk}/scale", {"nodes": 7}).json()["operation"]
    with tenant_context(acme.schema_name):
        params = {"nodes": 7, "from": 4, "add": [4, 5, 6], "remove": [], "ordered": True}
        Operation.objects.filter(pk=operation["id"]).update(params=params, state="running")
    answer = api.post(f"/api/v1/orgs/acme/operations/{operation['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")
    page = api.get(f"{HOME}operations/{operation['id']}/").content.decode()
    assert "it goes on to its end" in page
    assert "/cancel/" not in page


def test_learners_are_listed_and_removed_nodes_are_not(api, made, acme):
    cluster = made()
    with tenant_context(acme.schema_name):
        nodes = Node.objects.filter(cluster=cluster)
        nodes.filter(index=3).update(
            membership=Membership.LEARNER,
            state="learning",
            observed={"role": "learner", "lag": 1204, "sequence": 7},
        )
        nodes.filter(index=0).update(membership=Membership.REMOVED, state="removed")
    found = api.get(f"{API}/{cluster.pk}/nodes").json()["results"]
    assert [(n["id"], n["membership"], n["lag"]) for n in found][2] == (3, "learner", 1204)
    assert [n["id"] for n in found] == [1, 2, 3]
    shown = api.get(f"{API}/{cluster.pk}").json()
    assert len(shown["endpoints"]) == 2
    anchor = api.get(f"{API}/{cluster.pk}/connection/anchor").json()
    assert [v["id"] for v in anchor["validators"]] == [1, 2]
    page = api.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "learning" in page
    assert 'data-node="0"' not in page
    assert "nodes/3/restart/" not in page


def test_the_page_of_a_cluster_costs_the_same_whatever_its_size(api, made, acme):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    cluster = made()

    def cost(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(path).status_code == 200
        return len(captured)

    paths = [f"{HOME}{cluster.pk}/", f"{HOME}{cluster.pk}/scale/?nodes=7", f"{API}/{cluster.pk}"]
    before = [[cost(path) for _ in range(2)][1] for path in paths]
    with tenant_context(acme.schema_name):
        for index in range(4, 10):
            Node.objects.create(cluster=cluster, index=index, name="x", membership="removed")
    assert [cost(path) for path in paths] == before
    assert max(before) <= 16, before


def test_a_proof_stays_good_after_the_liar_was_replaced(api, made, acme):
    from portal.clusters.accountability.services import _anchor
    from portal.clusters.pages import accused_members

    cluster = made(epoch=3)

    class Proof:
        replica, epoch = 1, 0

    with tenant_context(acme.schema_name):
        Node.objects.filter(cluster=cluster, index=1).update(membership=Membership.REMOVED)
        anchor = _anchor(Cluster.objects.get(pk=cluster.pk), Proof)
        assert accused_members(cluster) == {}
    assert (anchor.epoch, anchor.public_key(1)) == (0, bytes.fromhex("02" * 32))
