"""The API of clusters: shapes that clients rely on, refusals, and the cost of lists."""

import pytest

from portal.clusters import services
from portal.core.tenancy import tenant_context

API = "/api/v1/orgs/acme/"
BODY = {"name": "Orders", "plan": "starter", "region": "local-1", "nodes": 4}


@pytest.fixture
def api(client_for, alice):
    return client_for(alice)


def post(api, path, body=None):
    return api.post(f"{API}{path}", body or {}, content_type="application/json")


def test_creating_answers_202_with_operation_and_cluster(api):
    answer = post(api, "clusters", BODY)
    assert answer.status_code == 202
    cluster, operation = answer.json()["cluster"], answer.json()["operation"]
    assert cluster["status"] == "provisioning"
    assert cluster["desired"] == {"nodes": 4}
    assert cluster["observed"]["f"] == 1
    assert cluster["observed"]["quorum"] == 3
    assert operation["kind"] == "create"
    assert operation["status"] == "queued"
    assert {"id", "kind", "status", "steps", "deadline", "error", "next_action"} <= set(operation)
    assert api.get(f"{API}operations/{operation['id']}").json() == operation
    assert api.get(f"{API}clusters/{cluster['id']}").json() == cluster


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**BODY, "colour": "red"}, 422, "invalid"),
        ({**BODY, "nodes": 2}, 422, "node_count_not_offered"),
        ({**BODY, "plan": "gold"}, 422, "unknown_plan"),
        ({**BODY, "region": "moon"}, 422, "unknown_region"),
        ({**BODY, "name": "  "}, 422, "invalid"),
        ({**BODY, "plan": "enterprise"}, 403, "plan_by_contract"),
    ],
)
def test_creating_refuses_with_a_stable_code(api, body, status, code):
    answer = post(api, "clusters", body)
    assert answer.status_code == status
    assert answer.json()["code"] == code
    assert answer["Content-Type"] == "application/problem+json"


def test_a_name_is_taken_once(api):
    assert post(api, "clusters", BODY).status_code == 202
    answer = post(api, "clusters", {**BODY, "name": "orders"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "name_taken"


def test_an_estimate_is_the_price_and_the_tolerance(api):
    answer = post(api, "clusters/estimate", {"plan": "professional", "nodes": 6}).json()
    assert answer["per_month"] == {"amount": "149.00", "currency": "USD"}
    assert answer["per_hour"] == {"amount": "0.2041", "currency": "USD"}
    assert answer["fault_budget"]["quorum"] == 4


def test_a_second_operation_waits_its_turn_in_words(api):
    cluster = post(api, "clusters", BODY).json()["cluster"]
    answer = post(api, f"clusters/{cluster['id']}/restart", {"node": 0})
    assert answer.status_code == 404  # It has no nodes yet.
    answer = api.delete(
        f"{API}clusters/{cluster['id']}", {"confirm": "Orders"}, content_type="application/json"
    )
    assert answer.status_code == 202
    assert answer.json()["operation"]["kind"] == "create"
    assert answer.json()["operation"]["cancel_requested"] is True


def test_cancelling_what_is_over_is_refused(api, acme):
    from portal.clusters.models import Operation

    operation = post(api, "clusters", BODY).json()["operation"]
    with tenant_context(acme.schema_name):
        Operation.objects.update(state="succeeded")
    answer = post(api, f"operations/{operation['id']}/cancel")
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_cancellable"


def test_the_catalogue_tells_the_tolerance_of_each_size(api):
    plans = {plan["code"]: plan for plan in api.get("/api/v1/plans").json()["results"]}
    assert plans["free"]["limits"] == {
        "storage_bytes": 10**9,
        "calls_per_month": 10_000,
        "requests_per_s": 100,
        "clusters": 1,
    }
    assert plans["enterprise"]["price_per_month"] is None
    assert [b["nodes"] for b in plans["starter"]["fault_budgets"]] == [3, 4, 7]
    assert api.get("/api/v1/regions").json()["results"] == [
        {"code": "local-1", "name": "This machine"}
    ]


@pytest.mark.parametrize("path", ["clusters", "operations"])
def test_lists_cost_the_same_however_long(
    api, acme, alice, access_of, path, django_assert_max_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(f"{API}{path}").status_code == 200
        return len(captured)

    def make(name: str) -> None:
        with tenant_context(acme.schema_name):
            services.cluster_create(
                access_of(alice), name=name, plan="professional", region="local-1", nodes=4
            )

    make("first")
    cost()
    before = cost()
    for index in range(8):
        make(f"further {index}")
    assert cost() == before
    assert len(api.get(f"{API}{path}").json()["results"]) == 9


def test_strangers_get_404_and_members_the_name_of_what_they_lack(
    api, client_for, charlie, bob, acme
):
    cluster = post(api, "clusters", BODY).json()["cluster"]
    assert client_for(charlie).get(f"{API}clusters/{cluster['id']}").status_code == 404
    answer = client_for(bob).delete(
        f"{API}clusters/{cluster['id']}", {"confirm": "Orders"}, content_type="application/json"
    )
    assert answer.status_code == 403
    assert answer.json()["permission"] == "clusters:delete"


def test_the_certificate_of_the_authority_is_offered_and_its_key_is_not(
    api, acme, client_for, charlie
):
    from portal.clusters.models import Cluster
    from portal.clusters.operations.specs import material_make

    made = post(api, "clusters", BODY).json()["cluster"]
    one = f"{API}clusters/{made['id']}/connection"
    page = f"/o/acme/clusters/{made['id']}/connect/ca.pem"
    assert api.get(one).json()["ca"] is None
    assert api.get(page).status_code == 404
    with tenant_context(acme.schema_name):
        material_make(Cluster.objects.get(pk=made["id"]))
    answer = api.get(page)
    assert "ca.pem" in answer["Content-Disposition"]
    assert answer.content.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in answer.content
    assert api.get(one).json()["ca"] == answer.content.decode()
    assert client_for(charlie).get(page).status_code == 404


def test_the_trust_anchor_is_offered_once_the_nodes_have_keys(api, acme, client_for, charlie):
    from dataplane.client.anchors import load_anchor
    from portal.clusters.models import Cluster, Node

    made = post(api, "clusters", BODY).json()["cluster"]
    one = f"{API}clusters/{made['id']}/connection"
    page = f"/o/acme/clusters/{made['id']}/connect/anchor.json"
    assert api.get(one).json()["trust_anchor"] is None
    assert api.get(f"{one}/anchor").status_code == 404
    with tenant_context(acme.schema_name):
        cluster = Cluster.objects.get(pk=made["id"])
        for index in range(4):
            key = f"{index + 1:02x}" * 32
            Node.objects.create(cluster=cluster, index=index, name=f"n{index}", public_key=key)
    for path in (f"{one}/anchor", page):
        answer = api.get(path)
        assert "anchor.json" in answer["Content-Disposition"]
        anchor = load_anchor(answer.content)
        assert (anchor.cluster_id, anchor.epoch) == (cluster.data_plane_id, 0)
        assert [(v.id, v.public_key[:2]) for v in anchor.validators] == [
            (0, "01"),
            (1, "02"),
            (2, "03"),
            (3, "04"),
        ]
        assert client_for(charlie).get(path).status_code == 404
    assert api.get(one).json()["trust_anchor"] == api.get(f"{one}/anchor").json()
