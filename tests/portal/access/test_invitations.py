"""Joining by invitation: Alice asks, Bob and newcomers accept, Charlie gets nowhere."""

from datetime import timedelta

import pytest
from django.test import Client

from portal.access.models import Invitation
from portal.accounts.models import User
from portal.audit.models import AuditEvent
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership
from tests.portal.letters import link_in

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def invite(client_for, alice, acme, letters):
    """Return a function by which Alice invites; it answers the link's path."""

    def send(email: str, role: str = "developer") -> str:
        with letters.expected() as sent:
            page = client_for(alice).post(
                "/o/acme/team/invite/", {"email": email, "role": role}, follow=True
            )
        assert f"An invitation was sent to {email.lower()}." in page.content.decode()
        (message,) = sent
        assert message.to == [email.lower()]
        assert message.subject.startswith("Join Acme")
        return link_in(message)

    return send


def role_in_acme(user: User) -> str | None:
    found = Membership.objects.filter(user=user, organization__slug="acme").first()
    return found.role if found else None


def actions(organization) -> list[str]:
    with tenant_context(organization.schema_name):
        return list(AuditEvent.objects.values_list("action", flat=True))


def test_someone_with_an_account_joins_by_a_button_and_not_by_following_the_link(
    invite, client_for, charlie, acme
):
    link = invite("Charlie@Example.com", "analyst")
    client = client_for(charlie)
    page = client.get(link)
    assert "Join Acme" in page.content.decode()
    assert "Alice invites you" in page.content.decode()
    assert role_in_acme(charlie) is None
    joined = client.post(link, follow=True)
    assert joined.redirect_chain == [("/o/acme/", 302)]
    assert "Welcome to Acme." in joined.content.decode()
    assert role_in_acme(charlie) == "analyst"
    assert actions(acme)[:2] == ["member.joined", "member.invited"]


def test_a_newcomer_signs_up_confirms_signs_in_and_is_led_back_to_the_invitation(invite, letters):
    link = invite("dora@example.com", "viewer")
    client = Client()
    login = client.get(link)
    assert login["Location"] == f"/login/?next={link}"
    assert (
        f'href="/signup/?next={link.replace("/", "%2F")}"'
        in client.get(login["Location"]).content.decode()
    )
    with letters.expected() as sent:
        client.post("/signup/", {"email": "dora@example.com", "password": PASSWORD, "next": link})
    confirmed = client.post(link_in(sent[0]))
    assert confirmed["Location"] == f"/login/?next={link}"
    credentials = {"email": "dora@example.com", "password": PASSWORD, "next": link}
    assert client.post("/login/", credentials)["Location"] == link
    assert client.post(link)["Location"] == "/o/acme/"
    assert role_in_acme(User.objects.get(email="dora@example.com")) == "viewer"


def test_sign_up_leads_on_to_no_other_site(client, letters):
    form = {"email": "dora@example.com", "password": PASSWORD, "next": "https://evil.example/"}
    with letters.expected() as sent:
        client.post("/signup/", form)
    assert "evil" not in sent[0].body
    assert client.post(link_in(sent[0]) + "?next=//evil.example/")["Location"] == "/login/"


def test_another_address_than_the_invited_one_is_refused(invite, client_for, charlie):
    link = invite("dora@example.com")
    client = client_for(charlie)
    assert "for another address than" in client.get(link).content.decode()
    assert client.post(link).status_code == 403
    assert role_in_acme(charlie) is None


def test_an_invitation_works_for_a_week(invite, client_for, charlie):
    link = invite("charlie@example.com")
    client = client_for(charlie)
    with clock.frozen(clock.now() + timedelta(days=7, minutes=1)):
        for answer in (client.get(link), client.post(link)):
            assert answer.status_code == 404
            assert "does not work any more" in answer.content.decode()
    with clock.frozen(clock.now() + timedelta(days=6, hours=23)):
        assert client.post(link).status_code == 302
    assert role_in_acme(charlie) == "developer"


def test_a_revoked_invitation_lets_nobody_in(invite, client_for, alice, charlie, acme):
    link = invite("charlie@example.com")
    with tenant_context(acme.schema_name):
        key = Invitation.objects.get().pk
    owner = client_for(alice)
    path = f"/o/acme/team/invitations/{key}/revoke/"
    assert "charlie@example.com" in owner.get("/o/acme/team/").content.decode()
    page = owner.post(path, follow=True).content.decode()
    assert "The invitation is revoked." in page
    assert "charlie@example.com" not in page
    assert owner.post(path).status_code == 404
    assert client_for(charlie).post(link).status_code == 404
    assert role_in_acme(charlie) is None
    assert "member.invitation_revoked" in actions(acme)


def test_a_second_invitation_replaces_the_first(invite, client_for, charlie):
    first, second = invite("charlie@example.com", "viewer"), invite("charlie@example.com", "admin")
    client = client_for(charlie)
    assert client.get(first).status_code == 404
    assert client.post(second).status_code == 302
    assert role_in_acme(charlie) == "admin"


def test_a_link_works_once_and_then_leads_a_member_to_the_organization(
    invite, client_for, alice, charlie, acme
):
    link = invite("charlie@example.com")
    client = client_for(charlie)
    client.post(link)
    assert client.get(link)["Location"] == "/o/acme/"
    key = Membership.objects.get(user=charlie, organization=acme).pk
    client_for(alice).post(f"/o/acme/team/{key}/remove/")
    assert client.get(link).status_code == 404
    assert client.post(link).status_code == 404
    assert role_in_acme(charlie) is None


def test_a_wrong_link_tells_nothing_of_whether_the_organization_exists(client_for, charlie, acme):
    client = client_for(charlie)
    there, missing = (client.get(f"/invitations/{slug}/guess/") for slug in ("acme", "nowhere"))
    assert there.status_code == missing.status_code == 404
    assert "This invitation does not work any more" in missing.content.decode()
    assert (
        there.content.decode().split("<main")[1].split("</main>")[0]
        == missing.content.decode().split("<main")[1].split("</main>")[0]
    )


@pytest.mark.parametrize(
    ("email", "role", "words"),
    [
        ("nonsense", "viewer", "This is not an e-mail address."),
        ("dora@example.com", "emperor", "Use one of owner"),
        ("bob@example.com", "viewer", "This person is a member already."),
    ],
)
def test_a_senseless_invitation_is_refused_in_words(
    client_for, alice, bob, acme, letters, email, role, words
):
    with letters.expected() as sent:
        page = client_for(alice).post(
            "/o/acme/team/invite/", {"email": email, "role": role}, follow=True
        )
    assert words in page.content.decode()
    assert sent == []


def test_who_may_not_invite_does_not(client_for, bob, charlie, acme, letters):
    form = {"email": "dora@example.com", "role": "viewer"}
    with letters.expected() as sent:
        assert client_for(bob).post("/o/acme/team/invite/", form).status_code == 403
        assert client_for(charlie).post("/o/acme/team/invite/", form).status_code == 404
        Membership.objects.filter(user=bob, organization=acme).update(role="admin")
        page = client_for(bob).post("/o/acme/team/invite/", {**form, "role": "owner"}, follow=True)
    assert "Only owners decide who is an owner." in page.content.decode()
    assert sent == []


def test_invitations_of_one_organization_are_not_seen_from_another(invite, client_for, charlie):
    invite("dora@example.com")
    assert "dora@example.com" not in client_for(charlie).get("/o/globex/team/").content.decode()
