"""The matrix of roles and permissions: published as it is enforced, on the page and in the docs."""

import re
from pathlib import Path

import pytest

from portal.access.permissions import (
    ALL_PERMISSIONS,
    PERMISSION_WORDS,
    PERMISSIONS,
    ROLE_WORDS,
)
from portal.accounts.models import User
from portal.core import clock
from portal.organizations.models import Membership, Role
from portal.organizations.services import membership_add

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "access.md"
PLACE = re.compile(r"(?<=<!-- matrix -->\n).*(?=<!-- end of matrix -->)", re.DOTALL)


def table() -> str:
    head = ["Permission", "It allows to", *(role.label for role in Role)]
    rows = [head, ["---", "---", *(":-:" for _ in Role)]]
    for code, words in PERMISSION_WORDS.items():
        cells = ["●" if code in PERMISSIONS[role] else "" for role in Role]
        rows.append([f"`{code}`", words[0].lower() + words[1:], *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_docs_show_the_table_that_decides(request):
    text = DOCUMENT.read_text()
    if request.config.getoption("--rewrite"):
        DOCUMENT.write_text(PLACE.sub(table(), text))
        return
    found = PLACE.search(text)
    assert found is not None
    assert found[0] == table(), "run this test with --rewrite and read the difference"


def test_every_role_and_every_permission_has_words():
    assert set(PERMISSIONS) == set(ROLE_WORDS) == set(Role.values)
    assert frozenset().union(*PERMISSIONS.values()) == ALL_PERMISSIONS


def test_only_owners_decide_who_is_an_owner():
    assert [role for role, may in PERMISSIONS.items() if "owners:write" in may] == [Role.OWNER]


@pytest.mark.django_db
def test_the_page_shows_every_cell(client_for, bob, acme):
    page = client_for(bob).get("/o/acme/access/matrix/").content.decode()
    rows = re.findall(r'<tr><th scope="row".*?</tr>', page, re.DOTALL)
    assert len(rows) == len(PERMISSION_WORDS)
    for row in rows:
        code = re.search(r"<code[^>]*>([a-z:]+)<", row)[1]
        cells = [cell == "yes" for cell in re.findall(r">(yes|no)</span>", row)]
        assert cells == [code in PERMISSIONS[role] for role in Role], code


@pytest.mark.django_db
def test_the_api_lists_the_roles_with_their_permissions(client_for, bob, acme):
    rows = client_for(bob).get("/api/v1/orgs/acme/roles").json()["results"]
    assert {row["role"]: set(row["permissions"]) for row in rows} == PERMISSIONS
    assert all(row["name"] and row["description"] for row in rows)


@pytest.mark.django_db
def test_a_billing_admin_sees_costs_and_people_and_no_cluster(client_for, bob, acme):
    Membership.objects.filter(user=bob).update(role=Role.BILLING_ADMIN)
    client = client_for(bob)
    home = client.get("/o/acme/").content.decode()
    assert "Cost this month" in home
    assert 'href="/o/acme/clusters/"' not in home
    assert "Billing Admin" in home
    for page in ("usage/", "team/", "access/matrix/"):
        assert client.get(f"/o/acme/{page}").status_code == 200, page
    for page in ("clusters/", "activity/", "settings/", "tokens/"):
        assert client.get(f"/o/acme/{page}").status_code == 403, page
    assert client.get("/api/v1/orgs/acme/costs").status_code == 200
    assert client.get("/api/v1/orgs/acme").json()["role"] == "billing_admin"
    refused = client.get("/api/v1/orgs/acme/clusters")
    assert (refused.status_code, refused.json()["permission"]) == (403, "clusters:read")


@pytest.mark.django_db
def test_an_owner_who_can_not_sign_in_is_no_other_owner(client_for, alice, acme):
    ghost = User.objects.create_user("ghost@example.com", email_confirmed_at=clock.now())
    membership_add(user_id=ghost.pk, organization=acme, role=Role.OWNER)
    User.objects.filter(pk=ghost.pk).update(is_active=False)
    mine = Membership.objects.get(user=alice, organization=acme)
    client = client_for(alice)
    for verb, data in (("delete", {}), ("patch", {"role": "admin"})):
        answer = getattr(client, verb)(
            f"/api/v1/orgs/acme/members/{mine.pk}", data, content_type="application/json"
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    User.objects.filter(pk=ghost.pk).update(is_active=True)
    assert client.delete(f"/api/v1/orgs/acme/members/{mine.pk}").status_code == 204
