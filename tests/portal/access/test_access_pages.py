"""The pages of grants and teams: what they offer, and what they cost."""

import re

import pytest

from portal.access.models import ClusterLabel, RoleBinding, Team, TeamMember
from portal.accounts.models import User
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.services import membership_add
from tests.conftest import PASSWORD
from tests.portal.access.test_grants import cluster_row

pytestmark = pytest.mark.django_db

GRANTS = "/o/acme/access/grants/"
TEAMS = "/o/acme/team/teams/"


@pytest.fixture
def crowd(acme):
    """Fifty members in teams, with grants, and clusters with labels."""
    now = clock.now()
    people = [
        User(email=f"p{number}@example.com", name=f"P {number}", email_confirmed_at=now)
        for number in range(50)
    ]
    User.objects.bulk_create(people)
    for person in people:
        membership_add(user_id=person.pk, organization=acme, role="member")
    with tenant_context(acme.schema_name):
        teams = [Team.objects.create(name=f"Team {n}", created_at=now) for n in range(5)]
        clusters = [cluster_row(f"c{number}") for number in range(5)]
        for number, person in enumerate(people):
            TeamMember.objects.create(team=teams[number % 5], user_id=person.pk, added_at=now)
            RoleBinding.objects.create(
                user_id=person.pk,
                role="viewer",
                scope_kind="cluster",
                scope=str(clusters[number % 5].pk),
                granted_by_id=person.pk,
                granted_by_label="x",
                created_at=now,
            )
        for team, cluster in zip(teams, clusters, strict=True):
            ClusterLabel.objects.create(cluster_id=cluster.pk, label=team.name.lower()[-1])
            RoleBinding.objects.create(
                team=team,
                role="developer",
                scope_kind="label",
                scope=team.name.lower()[-1],
                granted_by_id=people[0].pk,
                granted_by_label="x",
                created_at=now,
            )
    return people


@pytest.mark.parametrize(
    ("page", "most"), [("/o/acme/team/", 14), (TEAMS, 13), (GRANTS, 14), ("/o/acme/clusters/", 16)]
)
def test_pages_cost_the_same_number_of_queries_however_many_people(
    client_for, alice, crowd, django_assert_max_num_queries, page, most
):
    client = client_for(alice)
    with django_assert_max_num_queries(most):
        assert client.get(page).status_code == 200


def test_the_team_page_counts_grants_those_of_teams_included(client_for, alice, crowd):
    text = client_for(alice).get("/o/acme/team/").content.decode()
    rows = re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    own = next(row for row in rows if "alice@example.com" in row)
    assert "grant" not in own
    assert all("+ 2 grants" in row for row in rows if ">p" in row and "@example.com" in row)
    assert text.count("+ 2 grants") == len(crowd)


def test_a_request_asks_once_for_the_grants(client_for, crowd, django_assert_max_num_queries):
    client = client_for(crowd[0])
    with django_assert_max_num_queries(16):
        assert client.get("/o/acme/clusters/").status_code == 200


def test_a_role_is_granted_and_revoked_by_the_page(client_for, alice, bob, acme):
    client = client_for(alice, is_recent=False)
    with tenant_context(acme.schema_name):
        shop = cluster_row("shop")
    wanted = {
        "principal": f"user:{bob.pk}",
        "role": "admin",
        "scope": f"cluster:{shop.pk}",
        "life": "3600",
        "reason": "Night shift",
    }
    refused = client.post(GRANTS, wanted)
    assert refused.status_code == 403
    assert "Confirm that it is you to grant a role" in refused.content.decode()
    assert 'value="Night shift"' in refused.content.decode()
    done = client.post(GRANTS, wanted | {"password": PASSWORD}, follow=True)
    page = done.content.decode()
    assert done.redirect_chain == [(GRANTS, 302)]
    assert "Night shift" in page
    assert "You confirmed a moment ago" in page
    row = re.search(r"<tr><td>.*?</tr>", page, re.DOTALL)[0]
    assert all(word in row for word in ("bob@example.com", "Admin", "shop", "by alice@"))
    revoke = re.search(r'action="([^"]+/revoke/)"', row)[1]
    assert client.post(revoke, follow=True).redirect_chain == [(GRANTS, 302)]
    with tenant_context(acme.schema_name):
        assert not RoleBinding.objects.exists()


def test_the_form_says_what_is_wrong(client_for, alice, bob):
    wanted = {"principal": "user:nobody", "role": "owner", "scope": "x", "password": PASSWORD}
    answer = client_for(alice).post(GRANTS, wanted)
    assert answer.status_code == 422
    assert answer.content.decode().count("invalid-feedback") >= 3


def test_who_may_only_read_sees_no_control(client_for, bob, crowd):
    client = client_for(bob)
    for page in (GRANTS, TEAMS):
        text = client.get(page).content.decode()
        main = text[text.index("<main") : text.index("</main>")]
        assert "<form" not in main, page
        assert client.post(page).status_code in {403, 405}


def test_teams_are_made_filled_renamed_and_removed_by_the_page(client_for, alice, bob, acme):
    client = client_for(alice)
    client.post(f"{TEAMS}new/", {"name": " On   call "})
    with tenant_context(acme.schema_name):
        team = Team.objects.get(name="On call")
    twice = client.post(f"{TEAMS}new/", {"name": "On call"}, follow=True).content.decode()
    assert "There is a team with the name" in twice
    one = f"{TEAMS}{team.pk}/"
    added = client.post(f"{one}add/", {"user": str(bob.pk)}, follow=True).content.decode()
    assert f"Take bob@example.com out of {team.name}" in added
    client.post(f"{one}rename/", {"name": "Night shift"})
    client.post(f"{one}take/", {"user": str(bob.pk)})
    with tenant_context(acme.schema_name):
        assert not team.members.exists()
    assert client.post(f"{one}take/", {"user": "nobody"}).status_code == 404
    client.post(f"{one}delete/")
    with tenant_context(acme.schema_name):
        assert not Team.objects.exists()
        from portal.audit.models import AuditEvent

        actions = AuditEvent.objects.filter(action__startswith="team.").order_by("pk")
        assert list(actions.values_list("action", flat=True)) == [
            "team.created",
            "team.member_added",
            "team.renamed",
            "team.member_removed",
            "team.deleted",
        ]


def test_labels_are_changed_by_the_page(client_for, alice, acme):
    with tenant_context(acme.schema_name):
        shop = cluster_row("shop")
    path = f"/o/acme/access/labels/{shop.pk}/"
    page = client_for(alice).post(path, {"labels": "staging, eu eu"}, follow=True)
    assert 'value="eu, staging"' in page.content.decode()
    page = client_for(alice).post(path, {"labels": "Not Good"}, follow=True).content.decode()
    assert "lower-case letters" in page
