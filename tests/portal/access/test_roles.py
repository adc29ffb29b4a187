"""Custom roles: what they hold, who may change them, whom a change concerns; and explaining."""

import re
from uuid import uuid4

import pytest
from django.test import Client

from portal.access.models import ClusterLabel, CustomRole, RoleBinding, Team, TeamMember
from portal.access.permissions import ALL_PERMISSIONS, PERMISSIONS
from portal.accounts.services import token_create
from portal.audit.models import AuditEvent
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership, Role
from tests.conftest import PASSWORD
from tests.portal.access.test_grants import ask, cluster_row

pytestmark = pytest.mark.django_db

ROLES = "/o/acme/access/roles/"


@pytest.fixture
def owner(client_for, alice):
    return client_for(alice)


@pytest.fixture
def shop(acme):
    with tenant_context(acme.schema_name):
        return cluster_row("shop")


def make(client, name="Auditor", permissions=("audit:read", "clusters:read")):
    return ask(client, "roles", {"name": name, "permissions": list(permissions)})


def give(client, user, role_id, scope=None, **principal):
    wanted = {
        "principal": principal or {"user": str(user.pk)},
        "role": role_id,
        "scope": scope or {"kind": "organization"},
        "password": PASSWORD,
    }
    return ask(client, "bindings", wanted)


def change(client, role_id, permissions, name="Auditor"):
    wanted = {"name": name, "permissions": permissions, "password": PASSWORD}
    return ask(client, f"roles/{role_id}", wanted, "put")


def test_a_custom_role_gives_what_it_says_from_the_next_request(owner, bob, client_for, acme):
    Membership.objects.filter(user=bob).update(role="member")
    role = make(owner).json()
    assert (role["kind"], role["permissions"]) == ("custom", ["audit:read", "clusters:read"])
    assert give(owner, bob, role["id"]).json()["role_name"] == "Auditor"
    client = client_for(bob)
    assert client.get("/o/acme/activity/").status_code == 200
    assert client.get("/o/acme/team/").status_code == 403
    mine = client.get("/api/v1/orgs/acme").json()
    assert mine["permissions"] == ["audit:read", "clusters:read"]
    assert mine["grants"][0]["role_name"] == "Auditor"
    assert change(owner, role["id"], ["members:read"]).status_code == 200
    assert client.get("/o/acme/activity/").status_code == 403
    assert client.get("/o/acme/team/").status_code == 200
    with tenant_context(acme.schema_name):
        last = AuditEvent.objects.first()
        assert (last.action, last.target_label) == ("role.changed", "Auditor")
        assert last.before["permissions"] == ["audit:read", "clusters:read"]
        assert last.after["permissions"] == ["members:read"]


def test_a_role_is_listed_beside_the_built_in_ones_and_stands_in_the_matrix(owner, bob, client_for):
    make(owner)
    rows = client_for(bob).get("/api/v1/orgs/acme/roles").json()["results"]
    assert [row["kind"] for row in rows] == ["built_in"] * len(Role) + ["custom"]
    page = client_for(bob).get("/o/acme/access/matrix/").content.decode()
    row = re.search(r"<code[^>]*>audit:read<.*?</tr>", page, re.DOTALL)[0]
    assert len(re.findall(r">(?:yes|no)</span>", row)) == len(Role) + 1


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"name": "", "permissions": []}, "/name"),
        ({"name": " admin ", "permissions": []}, "/name"),
        ({"name": "Billing Admin", "permissions": []}, "/name"),
        ({"name": "x" * 41, "permissions": []}, "/name"),
        ({"name": "X", "permissions": ["owners:write"]}, "/permissions"),
        ({"name": "X", "permissions": ["clusters:fly"]}, "/permissions"),
        ({"name": "X", "permissions": [], "description": "x" * 201}, "/description"),
        ({"name": "X"}, "/permissions"),
    ],
)
def test_a_senseless_role_is_refused(owner, wanted, pointer):
    answer = ask(owner, "roles", wanted)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_nobody_makes_or_changes_a_role_to_more_than_they_hold(owner, alice, bob, acme):
    strong = make(owner, "Breaker", ["clusters:read", "clusters:break"]).json()
    _, secret = token_create(
        user=alice, name="roles", scopes=["roles:write", "members:read", "clusters:read"]
    )
    narrow = Client(headers={"Authorization": f"Bearer {secret}"})
    assert make(narrow, "A", ["clusters:break"]).json()["code"] == "grant_beyond_own"
    assert make(narrow, "B", ["clusters:read"]).status_code == 201
    more = change(narrow, strong["id"], ["clusters:break", "clusters:delete"], "Breaker")
    assert more.json()["code"] == "grant_beyond_own"
    # What it holds already may stay or go.
    assert change(narrow, strong["id"], ["clusters:break"], "Breaker").status_code == 200


def test_a_role_that_is_granted_stays(owner, bob, acme):
    role = make(owner).json()
    binding = give(owner, bob, role["id"]).json()
    refused = owner.delete(f"/api/v1/orgs/acme/roles/{role['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "role_in_use")
    owner.delete(f"/api/v1/orgs/acme/bindings/{binding['id']}")
    assert owner.delete(f"/api/v1/orgs/acme/roles/{role['id']}").status_code == 204
    assert give(owner, bob, role["id"]).status_code == 422


def test_a_name_is_taken_once_and_a_change_takes_the_password(owner, client_for, alice):
    role = make(owner).json()
    assert make(owner).json()["code"] == "role_name_taken"
    later = client_for(alice, is_recent=False)
    bare = ask(later, f"roles/{role['id']}", {"name": "Auditor", "permissions": []}, "put")
    assert bare.json()["code"] == "reauthentication_required"


def test_a_developer_sees_roles_and_changes_none(owner, bob, client_for):
    role = make(owner).json()
    client = client_for(bob)
    assert client.get(f"/api/v1/orgs/acme/roles/{role['id']}").status_code == 200
    assert client.get(ROLES).status_code == 200
    for path in (f"{ROLES}new/", f"{ROLES}{role['id']}/"):
        assert client.get(path).status_code == 403
    for method, path in (
        ("post", "roles"),
        ("put", f"roles/{role['id']}"),
        ("post", f"roles/{role['id']}/preview"),
        ("delete", f"roles/{role['id']}"),
    ):
        assert ask(client, path, {}, method).status_code == 403, path


def test_the_preview_names_who_gains_and_loses_what_and_changes_nothing(
    owner, alice, bob, shop, acme
):
    Membership.objects.filter(user=bob).update(role="viewer")
    role = make(owner, permissions=["documents:read", "audit:read"]).json()
    team = ask(owner, "teams", {"name": "Payments"}).json()
    ask(owner, f"teams/{team['id']}/members", {"user": str(bob.pk)})
    on_shop = {"kind": "cluster", "value": str(shop.pk)}
    give(owner, bob, role["id"], on_shop, team=team["id"])
    # Alice holds everything anyway, and Bob sees clusters by his own role.
    give(owner, alice, role["id"])
    wanted = ["clusters:read", "documents:write", "documents:read"]
    answer = ask(owner, f"roles/{role['id']}/preview", {"permissions": wanted})
    assert answer.json()["results"] == [
        {
            "user": {"id": str(bob.pk), "email": "bob@example.com"},
            "scope": on_shop,
            "gains": ["documents:write"],
            "loses": ["audit:read"],
        }
    ]
    assert owner.get(f"/api/v1/orgs/acme/roles/{role['id']}").json()["permissions"] == [
        "audit:read",
        "documents:read",
    ]


def test_the_preview_says_what_really_happens(owner, bob, shop, acme, client_for):
    """Compare what is foretold with what the person holds before and after."""
    Membership.objects.filter(user=bob).update(role="member")
    now = clock.now()
    with tenant_context(acme.schema_name):
        role = CustomRole.objects.create(
            name="R", permissions=["clusters:read", "keys:write"], created_at=now
        )
        other = CustomRole.objects.create(
            name="Other", permissions=["keys:write", "audit:read"], created_at=now
        )
        team = Team.objects.create(name="T", created_at=now)
        TeamMember.objects.create(team=team, user_id=bob.pk, added_at=now)
        ClusterLabel.objects.create(cluster_id=shop.pk, label="live")
        common = {"granted_by_id": bob.pk, "granted_by_label": "x", "created_at": now}
        for custom, who, kind, value in (
            (role, {"user_id": bob.pk}, "cluster", str(shop.pk)),
            (other, {"team": team}, "label", "live"),
        ):
            RoleBinding.objects.create(
                custom_role=custom, scope_kind=kind, scope=value, **who, **common
            )

    def held():
        path = "access/explain"
        client = client_for(bob)
        found = set()
        for code in ALL_PERMISSIONS:
            asked = ask(client, path, {"permission": code, "cluster": str(shop.pk)})
            if asked.status_code == 200 and asked.json()["allowed"]:
                found.add(code)
        return found

    before = held()
    wanted = ["clusters:read", "documents:read"]
    [told] = ask(owner, f"roles/{role.pk}/preview", {"permissions": wanted}).json()["results"]
    change(owner, str(role.pk), wanted, "R")
    after = held()
    assert (set(told["gains"]), set(told["loses"])) == (after - before, before - after)
    assert before == {"clusters:read", "keys:write", "audit:read"}
    assert after == {"clusters:read", "documents:read", "keys:write", "audit:read"}


def test_the_pages_make_preview_and_change_a_role(owner, bob, acme):
    made = owner.post(f"{ROLES}new/", {"name": "Auditor", "permissions": ["audit:read"]})
    assert made.status_code == 302
    with tenant_context(acme.schema_name):
        role = CustomRole.objects.get(name="Auditor")
    Membership.objects.filter(user=bob).update(role="member")
    give(owner, bob, str(role.pk))
    page = f"{ROLES}{role.pk}/"
    wanted = {"name": "Auditor", "permissions": ["usage:read"]}
    for shown in (
        owner.post(page, wanted | {"do": "preview"}),
        owner.post(page, wanted, headers={"Aerolith-Fragment": "1"}),
    ):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown.content.decode()))
        assert "bob@example.com everywhere gains usage:read loses audit:read" in text
    with tenant_context(acme.schema_name):
        assert CustomRole.objects.get().permissions == ["audit:read"]
    done = owner.post(page, wanted | {"password": PASSWORD}, follow=True)
    assert done.redirect_chain == [(ROLES, 302)]
    assert "1 grant" in done.content.decode()
    with tenant_context(acme.schema_name):
        assert CustomRole.objects.get().permissions == ["usage:read"]
    refused = owner.post(f"{ROLES}new/", {"name": "admin"})
    assert (refused.status_code, "A built-in role has this name." in refused.content.decode()) == (
        422,
        True,
    )


def test_the_explanation_agrees_with_what_is_enforced(client_for, bob, acme):
    """For each role and permission: explained as the table says."""
    client = client_for(bob)
    for role in Role:
        Membership.objects.filter(user=bob).update(role=role)
        for code in sorted(ALL_PERMISSIONS):
            found = ask(client, "access/explain", {"permission": code}).json()
            assert found["allowed"] == found["by_role"] == (code in PERMISSIONS[role])


def test_the_explanation_names_grants_places_tokens_and_remedies(
    owner, alice, bob, shop, client_for
):
    Membership.objects.filter(user=bob).update(role="member")
    on_shop = {"kind": "cluster", "value": str(shop.pk)}
    give(owner, bob, "developer", on_shop)
    asked = {"user": str(bob.pk), "permission": "keys:write"}
    everywhere = ask(owner, "access/explain", asked).json()
    assert everywhere["allowed"] is False
    assert everywhere["elsewhere"][0]["scope"] == on_shop
    assert everywhere["roles_that_allow"][0] == "Developer"
    there = ask(owner, "access/explain", asked | {"cluster": str(shop.pk)}).json()
    assert (there["allowed"], there["grants"][0]["role"]) == (True, "developer")
    _, secret = token_create(user=alice, name="t", scopes=["clusters:read"])
    narrow = Client(headers={"Authorization": f"Bearer {secret}"})
    told = ask(narrow, "access/explain", {"permission": "keys:write"}).json()
    assert (told["allowed"], told["by_role"], told["left_out_by_token"]) == (False, True, True)
    page = owner.get(
        "/o/acme/access/explain/",
        {"user": str(bob.pk), "permission": "keys:write", "where": "organization"},
    ).content.decode()
    assert "bob@example.com may not" in page
    assert "only on shop" in page


def test_who_may_ask_about_whom(owner, alice, bob, charlie, shop, client_for):
    Membership.objects.filter(user=bob).update(role="member")
    client = client_for(bob)
    about = {"permission": "clusters:read"}
    assert ask(client, "access/explain", about).status_code == 200
    others = ask(client, "access/explain", about | {"user": str(alice.pk)})
    assert (others.status_code, others.json()["permission"]) == (403, "members:read")
    for cluster in (shop.pk, uuid4()):
        hidden = ask(client, "access/explain", about | {"cluster": str(cluster)})
        assert hidden.json()["errors"][0]["detail"] == "There is no such cluster."
    assert client.get("/o/acme/access/explain/").status_code == 200
    assert "shop" not in client.get("/o/acme/access/explain/").content.decode()
    stranger = ask(owner, "access/explain", about | {"user": str(charlie.pk)})
    assert stranger.json()["code"] == "not_a_member"
    unknown = ask(owner, "access/explain", {"permission": "clusters:fly"})
    assert unknown.status_code == 422
