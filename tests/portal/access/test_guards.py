import pytest
from django.test import Client

from portal.access.permissions import ALL_PERMISSIONS, PERMISSIONS
from portal.accounts.services import token_create, token_revoke
from portal.organizations.models import Membership

pytestmark = pytest.mark.django_db

PAGES = ["team/", "tokens/", "activity/", "settings/"]
NEEDS = {
    "team/": "members:read",
    "tokens/": "tokens:write",
    "activity/": "audit:read",
    "settings/": "organization:write",
}


@pytest.mark.parametrize("page", PAGES)
def test_strangers_get_404(client, charlie, acme, page):
    client.force_login(charlie, backend="portal.accounts.backends.EmailBackend")
    assert client.get(f"/o/acme/{page}").status_code == 404
    assert (
        client.get(f"/o/acme/{page}").content.count(b"acme")
        == client.get(f"/o/nothing/{page}").content.count(b"nothing")
        == 0
    )


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", list(PERMISSIONS))
def test_pages_open_to_the_roles_that_have_the_permission(client, bob, acme, role, page):
    Membership.objects.filter(user=bob).update(role=role)
    client.force_login(bob, backend="portal.accounts.backends.EmailBackend")
    expected = 200 if NEEDS[page] in PERMISSIONS[role] else 403
    assert client.get(f"/o/acme/{page}").status_code == expected


def test_owner_has_every_permission():
    assert PERMISSIONS["owner"] == ALL_PERMISSIONS


def api(secret, path, method="get", **more):
    return getattr(Client(), method)(
        f"/api/v1/{path}",
        headers={"Authorization": f"Bearer {secret}", **more.pop("headers", {})},
        content_type="application/json",
        **more,
    )


def test_tokens_open_only_their_organization(alice, acme, globex):
    token, secret = token_create(user=alice, organization=acme, name="script")
    assert api(secret, "orgs/acme/members").status_code == 200
    assert api(secret, "orgs/globex/members").status_code == 404
    token_revoke(user=alice, token_id=token.pk)
    assert api(secret, "orgs/acme/members").status_code == 401


def test_a_scoped_token_cannot_make_a_stronger_one(alice, acme):
    _, secret = token_create(user=alice, organization=acme, name="s", scopes=["tokens:write"])
    assert api(secret, "orgs/acme/members").json()["permission"] == "members:read"
    answer = api(secret, "orgs/acme/tokens", "post", data={"name": "x", "scopes": ["audit:read"]})
    assert answer.status_code == 403
    assert api(secret, "orgs/acme/tokens", "post", data={"name": "x"}).json()["scopes"] == [
        "tokens:write"
    ]


def test_idempotency_key_answers_alike_and_does_it_once(alice, acme):
    _, secret = token_create(user=alice, name="s")

    def send(name):
        headers = {"Idempotency-Key": "k1"}
        return api(secret, "orgs/acme/tokens", "post", data={"name": name}, headers=headers)

    first, second = send("one"), send("one")
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert send("two").json()["code"] == "idempotency_key_reused"


def test_unknown_fields_are_refused_and_last_owner_stays(alice, acme):
    _, secret = token_create(user=alice, name="s")
    assert api(secret, "me", "patch", data={"name": "A", "boss": True}).status_code == 422
    me = Membership.objects.get(user=alice, organization=acme)
    assert api(secret, f"orgs/acme/members/{me.pk}", "delete").json()["code"] == "last_owner"
    assert api(secret, "orgs/acme/audit").json()["results"][0]["hash"]
