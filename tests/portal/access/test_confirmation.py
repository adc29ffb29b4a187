"""Whatever gives access asks a browser who it is: a session that was left open gives none."""

import pytest
from django.test import Client

from portal.access.models import ClusterLabel, Invitation, TeamMember
from portal.access.resolving import access_of
from portal.access.teams import team_create
from portal.accounts.services import token_create
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership
from portal.organizations.selectors import membership_get
from tests.portal.access.test_grants import ask, cluster_row

pytestmark = pytest.mark.django_db


@pytest.fixture
def places(acme, alice, bob):
    """Return what the paths and bodies of the requests name."""
    owner = membership_get(user_id=alice.pk, slug="acme")
    with tenant_context(acme.schema_name):
        team = team_create(access_of(alice, owner), name="Payments")
        shop = cluster_row("shop")
    theirs = Membership.objects.get(user=bob, organization=acme)
    return {"team": team.pk, "shop": shop.pk, "member": theirs.pk, "bob": str(bob.pk)}


def nothing_changed(acme, bob) -> bool:
    with tenant_context(acme.schema_name):
        made = [model.objects.exists() for model in (TeamMember, ClusterLabel, Invitation)]
    return not any(made) and Membership.objects.get(user=bob).role == "developer"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("team/{member}/role/", {"role": "admin"}),
        ("team/invite/", {"email": "eve@example.com", "role": "admin"}),
        ("team/teams/{team}/add/", {"user": "{bob}"}),
        ("access/labels/{shop}/", {"labels": "live"}),
    ],
)
def test_pages_lead_to_the_confirmation_and_do_nothing(
    client_for, alice, bob, acme, places, path, body
):
    wanted = {name: value.format(**places) for name, value in body.items()}
    where = f"/o/acme/{path.format(**places)}"
    answer = client_for(alice, is_recent=False).post(where, wanted)
    assert answer["Location"].startswith("/account/confirm/?")
    assert "action=role.grant" in answer["Location"]
    assert nothing_changed(acme, bob)
    assert client_for(alice).post(where, wanted)["Location"].startswith("/o/acme/")
    assert not nothing_changed(acme, bob)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "members/{member}", {"role": "admin"}),
        ("post", "invitations", {"email": "eve@example.com", "role": "admin"}),
        ("post", "teams/{team}/members", {"user": "{bob}"}),
        ("put", "clusters/{shop}/labels", {"labels": ["live"]}),
    ],
)
def test_the_api_asks_browsers_and_lets_tokens_pass(
    client_for, alice, bob, acme, places, method, path, body
):
    wanted = {
        name: value.format(**places) if isinstance(value, str) else value
        for name, value in body.items()
    }
    where = path.format(**places)
    answer = ask(client_for(alice, is_recent=False), where, wanted, method)
    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert nothing_changed(acme, bob)
    _, secret = token_create(user=alice, organization=acme, name="t")
    by_token = Client(headers={"Authorization": f"Bearer {secret}"})
    assert ask(by_token, where, wanted, method).status_code in {200, 201}
    assert not nothing_changed(acme, bob)
