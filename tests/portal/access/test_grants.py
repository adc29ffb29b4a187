"""Grants: what a person may do where, who may give it, and when it ends."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client

from portal.access.bindings import Principal, binding_grant, bindings_expire
from portal.access.models import CustomRole, RoleBinding, Team, TeamMember
from portal.access.permissions import PERMISSIONS
from portal.access.resolving import access_of
from portal.access.selectors import permission_holders
from portal.access.tasks import grants_expire
from portal.access.types import Scope
from portal.accounts.services import token_create
from portal.audit.models import AuditEvent
from portal.backups.models import Branch
from portal.clusters.models import Cluster, Operation
from portal.clusters.services import cluster_create
from portal.core import clock
from portal.core.errors import Forbidden
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership
from portal.organizations.selectors import membership_get
from portal.organizations.services import membership_add
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def cluster_row(name):
    return Cluster.objects.create(
        name=name,
        slug=name,
        plan="free",
        region="local-1",
        status="running",
        desired_nodes=1,
        data_plane_id=uuid4().hex,
        usage_token_hash=uuid4().hex,
        created_by="alice@example.com",
        created_at=clock.now(),
    )


@pytest.fixture
def clusters(acme):
    with tenant_context(acme.schema_name):
        return [cluster_row(name) for name in ("shop", "bank")]


@pytest.fixture
def dave(acme, db):
    """A member whose role alone opens nothing."""
    from portal.accounts.models import User

    made = User.objects.create_user("dave@example.com", PASSWORD, email_confirmed_at=clock.now())
    membership_add(user_id=made.pk, organization=acme, role="member")
    return made


@pytest.fixture
def reach(acme):
    """Return a function that gives a member's access, as a request of theirs would."""

    def make(user):
        membership = membership_get(user_id=user.pk, slug=acme.slug)
        with tenant_context(acme.schema_name):
            return access_of(user, membership)

    return make


@pytest.fixture
def give(acme, alice, reach):
    """Return a function by which Alice, the owner, grants."""

    def make(user, role, scope, **more):
        with tenant_context(acme.schema_name):
            return binding_grant(
                reach(alice), principal=Principal(user.pk), role=role, scope=scope, **more
            )

    return make


def at(cluster):
    return Scope("cluster", str(cluster.pk))


def ask(client, path, data, method="post"):
    return getattr(client, method)(f"/api/v1/orgs/acme/{path}", data, "application/json")


def order(user, role="viewer", scope=None, **more):
    where = scope or {"kind": "organization"}
    return {
        "principal": {"user": str(user.pk)},
        "role": role,
        "scope": where,
        "password": PASSWORD,
        **more,
    }


def test_a_member_without_a_grant_sees_no_cluster(client_for, dave, clusters):
    client = client_for(dave)
    assert client.get("/o/acme/").status_code == 200
    assert client.get("/o/acme/clusters/").status_code == 403
    assert client.get(f"/o/acme/clusters/{clusters[0].pk}/").status_code == 404
    assert client.get("/api/v1/orgs/acme/clusters").status_code == 403


def test_a_grant_on_one_cluster_opens_that_one_and_nothing_else(
    client_for, dave, give, clusters, acme
):
    shop, bank = clusters
    give(dave, "developer", at(shop))
    with tenant_context(acme.schema_name):
        begun = [begin(row) for row in clusters]
        Branch.objects.create(
            cluster=bank, source=shop, sequence=7, created_by="x", created_at=clock.now()
        )
    client = client_for(dave)
    assert client.get(f"/api/v1/orgs/acme/clusters/{shop.pk}/branches").json()["results"] == []
    assert "bank" not in client.get(f"/o/acme/clusters/{shop.pk}/backups/").content.decode()
    listed = client.get("/api/v1/orgs/acme/clusters").json()["results"]
    assert [row["name"] for row in listed] == ["shop"]
    work = client.get("/api/v1/orgs/acme/operations").json()["results"]
    assert [row["id"] for row in work] == [str(begun[0].pk)]
    for page in ("/o/acme/", "/o/acme/clusters/"):
        text = client.get(page).content.decode()
        assert "shop" in text, page
        assert "bank" not in text, page
    for one, status in ((shop, 200), (bank, 404)):
        for path in ("", "keys/", "connect/", "settings/", "operations/", "backups/", "audit/"):
            answer = client.get(f"/o/acme/clusters/{one.pk}/{path}")
            assert answer.status_code == status, (one.name, path)
        assert client.get(f"/api/v1/orgs/acme/clusters/{one.pk}").status_code == status
        assert client.get(f"/api/v1/orgs/acme/clusters/{one.pk}/keys").status_code == status
        assert client.get(f"/api/v1/orgs/acme/clusters/{one.pk}/labels").status_code == status
    for operation, status in zip(begun, (200, 404), strict=True):
        for path in (
            f"/o/acme/clusters/operations/{operation.pk}/",
            f"/api/v1/orgs/acme/operations/{operation.pk}",
        ):
            assert client.get(path).status_code == status, path
        cancelled = client.post(f"/api/v1/orgs/acme/operations/{operation.pk}/cancel")
        assert cancelled.status_code == (202 if status == 200 else 404)
    renamed = ask(client, f"clusters/{shop.pk}", {"name": "Shop 2"}, "patch")
    assert renamed.status_code == 200
    refused = client.delete(f"/api/v1/orgs/acme/clusters/{shop.pk}")
    assert (refused.status_code, refused.json()["permission"]) == (403, "clusters:delete")
    for path in ("usage", "costs", "audit", "members", "bindings", "teams", "invitations"):
        assert client.get(f"/api/v1/orgs/acme/{path}").status_code == 403, path


def begin(cluster):
    return Operation.objects.create(
        cluster=cluster,
        kind="restart",
        state="queued",
        requested_by="alice@example.com",
        deadline_at=clock.now() + timedelta(hours=1),
        created_at=clock.now(),
    )


def test_operations_are_listed_where_they_may_be_read_and_nowhere_else(
    client_for, dave, give, clusters, acme
):
    shop, bank = clusters
    with tenant_context(acme.schema_name):
        for cluster in clusters:
            begin(cluster)
        seeing, doing = [
            CustomRole.objects.create(name=code, permissions=[code], created_at=clock.now())
            for code in ("clusters:read", "operations:read")
        ]
    client = client_for(dave)

    def listed():
        rows = client.get("/api/v1/orgs/acme/operations").json()["results"]
        return sorted(row["cluster"] for row in rows)

    give(dave, str(seeing.pk), Scope())
    assert client.get("/api/v1/orgs/acme/operations").status_code == 403
    give(dave, str(doing.pk), at(shop))
    assert listed() == [str(shop.pk)]
    give(dave, str(doing.pk), at(bank))
    assert listed() == sorted([str(shop.pk), str(bank.pk)])


def test_operations_of_a_cluster_that_is_not_seen_are_not_listed(
    client_for, dave, give, clusters, acme
):
    with tenant_context(acme.schema_name):
        begun = begin(clusters[0])
        doing = CustomRole.objects.create(
            name="x", permissions=["operations:read"], created_at=clock.now()
        )
    give(dave, str(doing.pk), at(clusters[0]))
    client = client_for(dave)
    assert client.get("/api/v1/orgs/acme/operations").json()["results"] == []
    assert client.get(f"/api/v1/orgs/acme/operations/{begun.pk}").status_code == 404


def test_a_token_for_operations_alone_lists_them(bob, clusters, acme):
    with tenant_context(acme.schema_name):
        begin(clusters[0])
    _, secret = token_create(user=bob, name="watch", scopes=["operations:read"])
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert len(client.get("/api/v1/orgs/acme/operations").json()["results"]) == 1


def test_a_grant_on_one_cluster_makes_no_other_cluster(
    client_for, dave, give, reach, clusters, acme
):
    give(dave, "admin", at(clusters[0]))
    client = client_for(dave)
    wanted = {"name": "mine", "plan": "free", "region": "local-1", "nodes": 1}
    assert ask(client, "clusters", wanted).status_code == 403
    # As restoring a backup of the cluster into a new one does.
    here = reach(dave).at(clusters[0].pk)
    assert here.can("clusters:write")
    with tenant_context(acme.schema_name), pytest.raises(Forbidden):
        cluster_create(here, **wanted)


def test_an_admin_of_one_cluster_gives_nothing_to_anybody(client_for, dave, bob, give, clusters):
    shop = clusters[0]
    give(dave, "admin", at(shop))
    client = client_for(dave)
    scope = {"kind": "cluster", "value": str(shop.pk)}
    assert ask(client, "bindings", order(bob, scope=scope)).status_code == 403
    assert ask(client, f"clusters/{shop.pk}/labels", {"labels": ["x"]}, "put").status_code == 403
    assert client.post(f"/o/acme/access/labels/{shop.pk}/", {"labels": "x"}).status_code == 403


def test_a_label_means_the_clusters_that_have_it_now(client_for, alice, dave, give, clusters):
    shop, bank = clusters
    give(dave, "viewer", Scope("label", "staging"))
    client, owner = client_for(dave), client_for(alice)

    def seen():
        rows = client.get("/api/v1/orgs/acme/clusters").json()["results"]
        return sorted(row["name"] for row in rows)

    assert seen() == []
    for one in (shop, bank):
        path = f"clusters/{one.pk}/labels"
        assert ask(owner, path, {"labels": ["staging", "eu"]}, "put").json() == {
            "labels": ["eu", "staging"]
        }
    assert seen() == ["bank", "shop"]
    ask(owner, f"clusters/{bank.pk}/labels", {"labels": ["eu"]}, "put")
    assert seen() == ["shop"]
    assert client.get(f"/o/acme/clusters/{bank.pk}/").status_code == 404


@pytest.mark.parametrize(
    "labels", [["Upper"], ["a b"], [""], ["x" * 41], ["-"], list("abcdefghijk")]
)
def test_a_senseless_label_is_refused(client_for, alice, clusters, labels):
    path = f"clusters/{clusters[0].pk}/labels"
    assert ask(client_for(alice), path, {"labels": labels}, "put").status_code == 422


def test_a_team_gives_what_it_was_granted(client_for, alice, dave, clusters, acme):
    shop = clusters[0]
    owner, client = client_for(alice), client_for(dave)
    team = ask(owner, "teams", {"name": "Payments"}).json()
    scope = {"kind": "cluster", "value": str(shop.pk)}
    wanted = order(dave, "analyst", scope) | {"principal": {"team": team["id"]}}
    assert ask(owner, "bindings", wanted).status_code == 201
    page = f"/o/acme/clusters/{shop.pk}/"
    assert client.get(page).status_code == 404
    put = ask(owner, f"teams/{team['id']}/members", {"user": str(dave.pk)})
    assert put.json()["users"] == [str(dave.pk)]
    assert client.get(page).status_code == 200
    [held] = client.get("/api/v1/orgs/acme").json()["grants"]
    assert (held["role"], held["team"]) == ("analyst", "Payments")
    owner.delete(f"/api/v1/orgs/acme/teams/{team['id']}/members/{dave.pk}")
    assert client.get(page).status_code == 404
    ask(owner, f"teams/{team['id']}/members", {"user": str(dave.pk)})
    assert owner.delete(f"/api/v1/orgs/acme/teams/{team['id']}").status_code == 204
    assert client.get(page).status_code == 404
    with tenant_context(acme.schema_name):
        assert RoleBinding.objects.count() == TeamMember.objects.count() == 0


def test_nobody_grants_what_they_do_not_hold(client_for, alice, bob, dave, give, clusters):
    # Bob may manage people of the whole organization, and costs, but is no owner.
    Membership.objects.filter(user=bob).update(role="admin")
    client = client_for(bob)
    assert ask(client, "bindings", order(dave, "admin")).status_code == 201
    owner = ask(client, "bindings", order(dave, "owner"))
    assert owner.status_code == 422
    # A token that was narrowed gives no more than is left to it.
    _, secret = token_create(user=bob, name="people", scopes=["members:write", "members:read"])
    narrow = Client(headers={"Authorization": f"Bearer {secret}"})
    for path, data in (
        ("bindings", order(dave, "viewer")),
        ("invitations", {"email": "eve@example.com", "role": "viewer"}),
    ):
        answer = ask(narrow, path, data)
        assert (answer.status_code, answer.json()["code"]) == (403, "grant_beyond_own"), path
    mine = Membership.objects.get(user=dave)
    changed = ask(narrow, f"members/{mine.pk}", {"role": "viewer"}, "patch")
    assert changed.json()["code"] == "grant_beyond_own"
    assert Membership.objects.get(user=dave).role == "member"


def test_nobody_gives_by_a_team_or_a_label_what_they_do_not_hold(
    client_for, alice, bob, dave, give, clusters, acme
):
    shop, _ = clusters
    give(dave, "developer", Scope("label", "live"))
    _, secret = token_create(
        user=alice, name="people", scopes=["members:write", "members:read", "clusters:read"]
    )
    narrow = Client(headers={"Authorization": f"Bearer {secret}"})
    answer = ask(narrow, f"clusters/{shop.pk}/labels", {"labels": ["live"]}, "put")
    assert answer.json()["code"] == "grant_beyond_own"
    assert ask(narrow, f"clusters/{shop.pk}/labels", {"labels": ["eu"]}, "put").status_code == 200
    team = ask(client_for(alice), "teams", {"name": "Payments"}).json()
    wanted = order(dave, "admin") | {"principal": {"team": team["id"]}}
    ask(client_for(alice), "bindings", wanted)
    joined = ask(narrow, f"teams/{team['id']}/members", {"user": str(bob.pk)})
    assert joined.json()["code"] == "grant_beyond_own"


def test_granting_takes_a_password_and_is_written_down(client_for, alice, bob, clusters, acme):
    client = client_for(alice, is_recent=False)
    scope = {"kind": "cluster", "value": str(clusters[0].pk)}
    wanted = order(bob, "admin", scope, reason="On call")
    bare = ask(client, "bindings", {**wanted, "password": ""})
    assert (bare.status_code, bare.json()["code"]) == (403, "reauthentication_required")
    wrong = ask(client, "bindings", {**wanted, "password": "not this one"})
    assert wrong.status_code == 403
    made = ask(client, "bindings", wanted)
    assert made.status_code == 201
    assert client.delete(f"/api/v1/orgs/acme/bindings/{made.json()['id']}").status_code == 204
    with tenant_context(acme.schema_name):
        revoked, granted = AuditEvent.objects.filter(action__startswith="access.")[:2]
        assert (granted.action, granted.target_label) == ("access.granted", "bob@example.com")
        assert granted.after == {
            "role": "admin",
            "to": "person",
            "scope": "cluster",
            "on": str(clusters[0].pk),
            "reason": "On call",
        }
        assert (revoked.action, revoked.before) == ("access.revoked", granted.after)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "member"}, "/role"),
        ({"role": "king"}, "/role"),
        ({"scope": {"kind": "cluster", "value": str(uuid4())}}, "/scope/value"),
        ({"scope": {"kind": "cluster", "value": "x"}}, "/scope/value"),
        ({"scope": {"kind": "label", "value": "Not a label"}}, "/scope/value"),
        ({"scope": {"kind": "organization", "value": "x"}}, "/scope/value"),
        ({"scope": {"kind": "planet"}}, "/scope/kind"),
        ({"principal": {}}, "/principal"),
        ({"principal": {"user": str(uuid4())}}, "/principal"),
        ({"principal": {"team": str(uuid4())}}, "/principal"),
        ({"expires": "2020-01-01T00:00:00Z"}, "/expires"),
        ({"expires": "2100-01-01T00:00:00Z"}, "/expires"),
        ({"reason": "x" * 201}, "/reason"),
        ({"reason": "bell \a"}, "/reason"),
        ({"why": "no field"}, "/why"),
    ],
)
def test_a_senseless_grant_is_refused(client_for, alice, bob, clusters, change, pointer):
    answer = ask(client_for(alice), "bindings", order(bob) | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_stranger_is_granted_nothing(client_for, alice, charlie, clusters):
    answer = ask(client_for(alice), "bindings", order(charlie))
    assert answer.json()["errors"][0]["detail"] == "This person is not a member."


def test_the_same_grant_is_made_once(client_for, alice, bob):
    client = client_for(alice)
    assert ask(client, "bindings", order(bob)).status_code == 201
    again = ask(client, "bindings", order(bob))
    assert (again.status_code, again.json()["code"]) == (409, "already_granted")


def test_a_grant_ends_by_the_clock_alone_and_the_trail_says_so(
    client_for, dave, give, clusters, acme, monkeypatch
):
    shop = clusters[0]
    now = clock.now()
    give(dave, "viewer", at(shop), expires_at=now + timedelta(hours=1))
    client = client_for(dave)
    assert client.get(f"/o/acme/clusters/{shop.pk}/").status_code == 200
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=61))
    assert client.get(f"/o/acme/clusters/{shop.pk}/").status_code == 404
    grants_expire()
    with tenant_context(acme.schema_name):
        assert not RoleBinding.objects.exists()
        assert AuditEvent.objects.first().action == "access.expired"
        assert bindings_expire() == 0


def test_who_leaves_and_comes_back_finds_no_old_grants(client_for, alice, bob, give, acme):
    give(bob, "admin", Scope())
    with tenant_context(acme.schema_name):
        team = Team.objects.create(name="Payments", created_at=clock.now())
        TeamMember.objects.create(team=team, user_id=bob.pk, added_at=clock.now())
    mine = Membership.objects.get(user=bob, organization=acme)
    client_for(alice).delete(f"/api/v1/orgs/acme/members/{mine.pk}")
    membership_add(user_id=bob.pk, organization=acme, role="viewer")
    assert client_for(bob).get("/api/v1/orgs/acme").json()["grants"] == []
    with tenant_context(acme.schema_name):
        assert RoleBinding.objects.count() == TeamMember.objects.count() == 0


def test_an_answer_is_not_repeated_after_the_grant_on_the_cluster_is_gone(
    client_for, alice, dave, give, clusters, acme
):
    shop = clusters[0]
    binding = give(dave, "developer", at(shop))
    client = client_for(dave, headers={"Idempotency-Key": "rename"})
    assert ask(client, f"clusters/{shop.pk}", {"name": "Shop 2"}, "patch").status_code == 200
    assert ask(client, f"clusters/{shop.pk}", {"name": "Shop 2"}, "patch").status_code == 200
    client_for(alice).delete(f"/api/v1/orgs/acme/bindings/{binding.pk}")
    assert ask(client, f"clusters/{shop.pk}", {"name": "Shop 2"}, "patch").status_code == 403


def test_an_answer_about_an_operation_is_not_repeated_after_the_grant_is_gone(
    client_for, alice, dave, give, clusters, acme
):
    shop, bank = clusters
    binding = give(dave, "developer", at(shop))
    give(dave, "developer", at(bank))
    with tenant_context(acme.schema_name):
        begun = begin(shop)
    client = client_for(dave, headers={"Idempotency-Key": "cancel"})
    path = f"operations/{begun.pk}/cancel"
    assert ask(client, path, {}).status_code == ask(client, path, {}).status_code == 202
    client_for(alice).delete(f"/api/v1/orgs/acme/bindings/{binding.pk}")
    refused = ask(client, path, {})
    assert (refused.status_code, "operation" in refused.json()) == (403, False)


def test_mail_about_a_cluster_goes_to_who_holds_the_permission_there(
    bob, dave, alice, give, clusters, acme
):
    shop, bank = clusters
    give(dave, "admin", at(shop))
    names = [
        [user.email for user in permission_holders(acme, "clusters:delete", one.pk)]
        for one in (shop, bank)
    ]
    assert names == [["alice@example.com", "dave@example.com"], ["alice@example.com"]]


def test_me_tells_what_is_held_in_each_organization(client_for, bob, give, acme):
    give(bob, "billing_admin", Scope())
    [mine] = client_for(bob).get("/api/v1/me").json()["organizations"]
    assert set(mine["permissions"]) == PERMISSIONS["developer"] | PERMISSIONS["billing_admin"]
    assert mine["grants"][0]["scope"] == {"kind": "organization", "value": None}


def test_a_token_of_one_organization_tells_of_no_other(alice, acme, globex):
    membership_add(user_id=alice.pk, organization=globex, role="viewer")
    _, secret = token_create(user=alice, organization=acme, name="one")
    rows = Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/orgs").json()
    assert [row["slug"] for row in rows["results"]] == ["acme"]
