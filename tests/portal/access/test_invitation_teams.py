"""Invitations that are sent again, work as long as chosen, and lead into teams."""

from datetime import timedelta

import pytest
from django.test import Client

from portal.access.models import Invitation, RoleBinding, Team, TeamMember
from portal.accounts.services import token_create
from portal.audit.models import AuditEvent
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership
from tests.portal.access.test_grants import ask
from tests.portal.letters import link_in

pytestmark = pytest.mark.django_db
ADDRESS = "charlie@example.com"
LATER = timedelta(minutes=2)


@pytest.fixture
def team(acme):
    """A team to which nothing is granted."""
    with tenant_context(acme.schema_name):
        return Team.objects.create(name="Payments", created_at=clock.now())


@pytest.fixture
def sent(client_for, alice, acme, letters):
    """Return a function by which Alice posts to a page; it answers the link that was mailed."""

    def post(path: str = "invite/", **form: object) -> str:
        with letters.expected() as mails:
            client_for(alice).post(f"/o/acme/team/{path}", form)
        (mail,) = mails
        return link_in(mail)

    return post


def invitation(acme) -> Invitation:
    with tenant_context(acme.schema_name):
        return Invitation.objects.get(revoked_at=None)


def teams_of(acme, user) -> list[str]:
    with tenant_context(acme.schema_name):
        return list(TeamMember.objects.filter(user_id=user.pk).values_list("team__name", flat=True))


def grant(acme, team: Team, role: str, giver) -> None:
    with tenant_context(acme.schema_name):
        RoleBinding.objects.create(
            team_id=team.pk,
            role=role,
            scope_kind="organization",
            granted_by_id=giver.pk,
            granted_by_label="x",
            created_at=clock.now(),
        )


def test_who_is_invited_into_a_team_is_in_it_once_they_joined(
    sent, client_for, alice, charlie, acme, team
):
    link = sent(email=ADDRESS, role="member", teams=str(team.pk))
    assert "Payments" in client_for(alice).get("/o/acme/team/").content.decode()
    client = client_for(charlie)
    assert "You join <strong>Payments</strong>" in client.get(link).content.decode()
    assert teams_of(acme, charlie) == []
    assert client.post(link).status_code == 302
    assert teams_of(acme, charlie) == ["Payments"]
    with tenant_context(acme.schema_name):
        joined = AuditEvent.objects.get(action="member.joined")
        assert joined.after == {"role": "member", "teams": ["Payments"]}


def test_a_team_that_is_gone_or_full_keeps_nobody_from_joining(
    sent, client_for, charlie, acme, team, monkeypatch
):
    with tenant_context(acme.schema_name):
        gone = Team.objects.create(name="Gone", created_at=clock.now())
    link = sent(email=ADDRESS, role="viewer", teams=[str(team.pk), str(gone.pk)])
    with tenant_context(acme.schema_name):
        gone.delete()
    monkeypatch.setattr("portal.access.invitations.MEMBER_COUNT_MAX", 0)
    assert client_for(charlie).post(link).status_code == 302
    assert teams_of(acme, charlie) == []
    assert Membership.objects.get(user=charlie, organization=acme).role == "viewer"


def test_nobody_invites_into_a_team_that_holds_more_than_they_do(alice, acme, team, letters):
    _, secret = token_create(user=alice, name="people", scopes=["members:write", "members:read"])
    narrow = Client(headers={"Authorization": f"Bearer {secret}"})
    body = {"email": ADDRESS, "role": "member", "teams": [str(team.pk)]}
    with letters.expected() as mails:
        assert ask(narrow, "invitations", body).status_code == 201
        grant(acme, team, "viewer", alice)
        refused = ask(narrow, "invitations", body)
        with clock.frozen(clock.now() + LATER):
            again = ask(narrow, f"invitations/{invitation(acme).pk}/resend", {})
    for answer in (refused, again):
        assert (answer.status_code, answer.json()["code"]) == (403, "grant_beyond_own")
    assert len(mails) == 1


def test_the_api_names_teams_and_the_end(client_for, alice, acme, team, letters):
    client, ends = client_for(alice), clock.now().replace(microsecond=0) + timedelta(hours=3)
    body = {"email": ADDRESS, "role": "viewer", "teams": [str(team.pk)], "expires": ends}
    with letters.expected():
        made = ask(client, "invitations", body)
    assert made.status_code == 201
    (row,) = client.get("/api/v1/orgs/acme/invitations").json()["results"]
    assert row == made.json()
    assert row["teams"] == [str(team.pk)]
    assert invitation(acme).expires_at == ends


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("teams", ["0190a5c4-0000-7000-8000-000000000000"]),
        ("expires", timedelta(minutes=59)),
        ("expires", timedelta(days=30, minutes=1)),
        ("expires", -timedelta(days=1)),
    ],
)
def test_senseless_teams_and_times_are_refused(client_for, alice, acme, letters, field, value):
    wanted = clock.now() + value if isinstance(value, timedelta) else value
    with letters.expected() as mails:
        answer = ask(
            client_for(alice), "invitations", {"email": ADDRESS, "role": "viewer", field: wanted}
        )
    assert answer.status_code == 422
    assert [row["pointer"] for row in answer.json()["errors"]] == [f"/{field}"]
    assert mails == []


def test_a_link_works_as_long_as_was_chosen(sent, client_for, charlie):
    link = sent(email=ADDRESS, role="viewer", life="86400")
    client = client_for(charlie)
    with clock.frozen(clock.now() + timedelta(hours=24, minutes=1)):
        assert client.get(link).status_code == 404
    with clock.frozen(clock.now() + timedelta(hours=23)):
        assert client.get(link).status_code == 200


def test_sent_again_it_is_a_new_link_for_as_long_and_the_old_one_ends(
    sent, client_for, charlie, acme, team
):
    first = sent(email=ADDRESS, role="analyst", life="86400", teams=str(team.pk))
    client, began = client_for(charlie), clock.now()
    with clock.frozen(began + timedelta(days=3)):
        second = sent(f"invitations/{invitation(acme).pk}/resend/")
        assert client.get(first).status_code == 404
    assert first != second
    with clock.frozen(began + timedelta(days=4, minutes=1)):
        assert client.post(second).status_code == 404
    with clock.frozen(began + timedelta(days=3, hours=23)):
        assert client.post(second).status_code == 302
    assert teams_of(acme, charlie) == ["Payments"]
    with tenant_context(acme.schema_name):
        assert AuditEvent.objects.filter(action="member.invitation_resent").count() == 1


def test_it_is_sent_again_once_a_minute_at_most(sent, client_for, alice, acme, letters):
    sent(email=ADDRESS, role="viewer")
    path = f"invitations/{invitation(acme).pk}/resend"
    with letters.expected() as mails:
        answer = ask(client_for(alice), path, {})
        page = client_for(alice).post(f"/o/acme/team/{path}/", follow=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "invitation_just_sent")
    assert "wait a minute" in page.content.decode()
    assert mails == []
    with clock.frozen(clock.now() + LATER), letters.expected() as mails:
        assert ask(client_for(alice), path, {}).status_code == 200
    assert len(mails) == 1


def test_sending_again_takes_what_inviting_takes(sent, client_for, alice, bob, acme, letters):
    sent(email=ADDRESS, role="owner")
    path = f"invitations/{invitation(acme).pk}/resend"
    unsure = client_for(alice, is_recent=False)
    with clock.frozen(clock.now() + LATER), letters.expected() as mails:
        assert ask(client_for(bob), path, {}).status_code == 403
        Membership.objects.filter(user=bob, organization=acme).update(role="admin")
        refused = ask(client_for(bob), path, {})
        asked = ask(unsure, path, {})
        page = unsure.post(f"/o/acme/team/{path}/")
    assert refused.json()["permission"] == "owners:write"
    assert asked.status_code == 403
    assert page["Location"].startswith("/account/confirm/?")
    assert mails == []


def test_what_was_revoked_is_not_sent_again(sent, client_for, alice, acme, letters):
    sent(email=ADDRESS, role="viewer")
    key = invitation(acme).pk
    client_for(alice).post(f"/o/acme/team/invitations/{key}/revoke/")
    with clock.frozen(clock.now() + LATER), letters.expected() as mails:
        assert ask(client_for(alice), f"invitations/{key}/resend", {}).status_code == 404
        page = client_for(alice).post(f"/o/acme/team/invitations/{key}/resend/")
    assert page.status_code == 404
    assert mails == []


def test_the_team_page_asks_as_often_for_many_invitations(
    client_for, alice, acme, team, django_assert_max_num_queries
):
    client, now = client_for(alice), clock.now()
    with django_assert_max_num_queries(20) as before:
        client.get("/o/acme/team/")
    with tenant_context(acme.schema_name):
        for number in range(10):
            row = Invitation.objects.create(
                email=f"p{number}@example.com",
                role="viewer",
                hash=str(number),
                invited_by_id=alice.pk,
                invited_by_label="Alice",
                created_at=now,
                expires_at=now + timedelta(days=7),
            )
            row.teams.add(team)
    # One more, for the teams of all of them.
    with django_assert_max_num_queries(len(before.captured_queries) + 1):
        client.get("/o/acme/team/")
