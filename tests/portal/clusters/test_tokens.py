"""Short-lived tokens: minted by role, taken by a real node, revoked and rotated."""

from datetime import timedelta

import httpx
import pytest
from django.db import connection

from dataplane.client.client import Client
from dataplane.client.local import LocalCluster
from portal.access.permissions import ALL_PERMISSIONS
from portal.access.types import Access
from portal.audit.models import AuditEvent
from portal.clusters import tokens as module
from portal.clusters.models import Cluster, Node
from portal.core import clock
from portal.core.crypto import seal
from portal.core.tenancy import tenant_context


@pytest.fixture(scope="module")
def make_node(tmp_path_factory):
    made = []

    def make(organization):
        if not made:
            directory = tmp_path_factory.mktemp("nodes")
            made.append(LocalCluster(directory, 1, organization=organization))
            made[0].start()
            with Client(made[0].urls, made[0].api_key) as client:
                deadline = clock.now() + timedelta(seconds=30)
                while not client.ready():
                    assert clock.now() < deadline
        return made[0]

    yield make
    for cluster in made:
        cluster.kill()


@pytest.fixture
def node(make_node, acme):
    return make_node(acme.schema_name)


@pytest.fixture
def tokens(node, acme):
    """Return the path of the tokens of a cluster that the node serves."""
    with tenant_context(acme.schema_name):
        cluster = Cluster.objects.create(
            name="things",
            plan="free",
            region="local",
            status="running",
            desired_nodes=1,
            data_plane_id=node.cluster_id,
            admin_key=seal(node.api_key.encode()),
            created_by="alice@example.com",
            created_at=clock.now(),
        )
        member = node.members[0]
        Node.objects.create(
            cluster=cluster, index=0, name="things-0", host=member.host, http_port=member.http_port
        )
    return f"/api/v1/orgs/acme/clusters/{cluster.pk}/token"


def mint(client, path, **body):
    return client.post(path, body, content_type="application/json")


def put(node, token):
    return httpx.put(
        f"{node.urls[0]}/api/v1/collections/notes/documents/x",
        json={},
        headers={"Authorization": f"Bearer {token}"},
    )


def test_a_token_of_a_member_works_at_once_and_is_shown_once(tokens, node, acme, client_for, alice):
    answer = mint(client_for(alice), tokens, collections=["no*"], lifetime_s=300)
    assert answer.status_code == 201, answer.content
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body["scopes"]) == {
        "documents:read",
        "documents:write",
        "collections:admin",
        "cluster:read",
    }
    assert put(node, body["token"]).is_success
    headers = {"Authorization": f"Bearer {body['token']}"}
    keys = httpx.get(f"{node.urls[0]}/api/v1/keys", headers=headers)
    assert keys.status_code == 403
    with tenant_context(acme.schema_name):
        told = [str(event.after) for event in AuditEvent.objects.all()]
    assert any(body["id"] in text for text in told)
    assert not any(body["token"] in text for text in told)


def test_a_role_bounds_what_its_tokens_may_do(tokens, node, client_for, bob, acme):
    from portal.organizations.models import Membership as Role

    Role.objects.filter(user=bob, organization=acme).update(role="viewer")
    viewer = client_for(bob)
    body = mint(viewer, tokens).json()
    assert body["scopes"] == ["cluster:read"]
    assert put(node, body["token"]).status_code == 403
    refused = mint(viewer, tokens, scopes=["documents:read"])
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    owner_only = mint(viewer, tokens, scopes=["cluster:admin"])
    assert owner_only.status_code == 403
    assert viewer.post(f"{tokens}/rotate").status_code == 403
    assert viewer.delete(f"{tokens}/{body['id']}").status_code == 403


def test_a_revoked_token_ends_and_a_rotated_key_lets_old_tokens_live(
    tokens, node, client_for, alice
):
    client = client_for(alice)
    first, second = mint(client, tokens).json(), mint(client, tokens).json()
    assert client.delete(f"{tokens}/{first['id']}").status_code == 204
    assert put(node, first["token"]).status_code == 401
    assert client.post(f"{tokens}/rotate").status_code == 200
    third = mint(client, tokens).json()
    assert put(node, second["token"]).is_success
    assert put(node, third["token"]).is_success


def test_no_row_is_locked_while_the_cluster_is_asked(
    tokens, node, acme, client_for, alice, monkeypatch
):
    real, depths = module.admin_client, []

    def noting(*given, **options):
        depths.append(len(connection.atomic_blocks))
        return real(*given, **options)

    monkeypatch.setattr(module, "admin_client", noting)
    before = len(connection.atomic_blocks)
    assert client_for(alice).post(f"{tokens}/rotate").status_code == 200
    assert depths == [before], "the row would be locked for as long as nodes do not answer"


def lasting(direct: Client) -> set[str]:
    keys = direct.keys()
    return {row["id"] for row in keys if row["kind"] == "issuer" and not row["expires"]}


def test_of_two_who_replace_the_key_at_once_one_counts(
    tokens, node, acme, client_for, alice, monkeypatch
):
    access = Access(user=alice, organization=acme, role="owner", role_permissions=ALL_PERMISSIONS)
    with Client(node.urls, node.api_key) as direct, tenant_context(acme.schema_name):
        real, between, before = module._forget_expired, [], lasting(direct)

        def other_first(asked):
            real(asked)
            if not between:
                between.append("")
                between[0] = module.issuer_rotate(access, Cluster.objects.get()).token_issuer

        monkeypatch.setattr(module, "_forget_expired", other_first)
        mine = module.issuer_rotate(access, Cluster.objects.get()).token_issuer
        assert mine == between[0], "the other one was there first"
        left = lasting(direct) - before
        assert left == {mine}, "a key that nobody signs with is not left behind"
    assert put(node, mint(client_for(alice), tokens).json()["token"]).is_success


@pytest.mark.parametrize("body", [{"lifetime_s": 3_601}, {"scopes": ["x"]}, {"collections": []}])
def test_what_makes_no_sense_is_refused(tokens, client_for, alice, body):
    assert mint(client_for(alice), tokens, **body).status_code == 422


def test_what_the_cluster_refuses_is_not_told_as_out_of_reach(tokens, node, client_for, alice):
    key = node.api_key.split("_")[1]
    for token_id in ("no-such-id", key):
        answer = client_for(alice).delete(f"{tokens}/{token_id}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    with Client(node.urls, node.api_key) as client:
        assert client.stats()["sequence"] > 0, "the key of the portal is as it was"


def test_a_cluster_out_of_reach_is_told(tokens, acme, client_for, alice):
    with tenant_context(acme.schema_name):
        Node.objects.update(http_port=1)
    answer = mint(client_for(alice), tokens)
    assert (answer.status_code, answer.json()["code"]) == (503, "cluster_unreachable")
