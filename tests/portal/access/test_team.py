"""The team page: who sees which controls, and where each button leads."""

import re

import pytest

from portal.organizations.models import Membership

pytestmark = pytest.mark.django_db


def member(user, organization) -> Membership:
    return Membership.objects.get(user=user, organization=organization)


def promote(user, organization, role) -> None:
    Membership.objects.filter(user=user, organization=organization).update(role=role)


def row_of(page, email: str) -> str:
    rows = re.findall(r"<tr>.*?</tr>", page.content.decode(), re.DOTALL)
    return next(row for row in rows if email in row)


def test_removing_a_member_leads_back_to_the_team_and_says_who_went(client_for, alice, bob, acme):
    client = client_for(alice)
    path = f"/o/acme/team/{member(bob, acme).pk}/remove/"
    answer = client.post(path, follow=True)
    assert answer.redirect_chain == [("/o/acme/team/", 302)]
    assert "bob@example.com no longer has access." in answer.content.decode()
    assert not Membership.objects.filter(user=bob, organization=acme).exists()
    assert client_for(bob).get("/o/acme/").status_code == 404


def test_leaving_leads_to_the_organizations_that_are_left(client_for, bob, acme):
    answer = client_for(bob).post(f"/o/acme/team/{member(bob, acme).pk}/remove/")
    assert answer["Location"] == "/organizations/"
    assert not Membership.objects.filter(user=bob, organization=acme).exists()


def test_the_last_owner_stays_and_is_told_why(client_for, alice, acme):
    answer = client_for(alice).post(f"/o/acme/team/{member(alice, acme).pk}/remove/", follow=True)
    assert answer.redirect_chain == [("/o/acme/team/", 302)]
    assert "Make someone else an owner first." in answer.content.decode()


@pytest.mark.parametrize("role", ["viewer", "analyst", "developer", "admin"])
def test_who_is_no_owner_sees_an_owners_role_in_words_and_no_control(client_for, bob, acme, role):
    promote(bob, acme, role)
    row = row_of(client_for(bob).get("/o/acme/team/"), "alice@example.com")
    assert "<select" not in row
    assert "Remove" not in row
    assert re.search(r'class="badge[^>]*>Owner<', row)


@pytest.mark.parametrize(("viewer", "seen"), [("alice", "alice"), ("alice", "bob"), ("bob", "bob")])
def test_a_select_shows_the_role_that_the_member_has(client_for, alice, bob, acme, viewer, seen):
    promote(bob, acme, "admin")
    people = {"alice": alice, "bob": bob}
    page = client_for(people[viewer]).get("/o/acme/team/")
    row = row_of(page, f"{seen}@example.com")
    chosen = re.findall(r'<option value="(\w+)" selected>', row)
    assert chosen == [member(people[seen], acme).role]


def test_everyone_is_told_what_each_role_may(client_for, bob, acme):
    page = client_for(bob).get("/o/acme/team/").content.decode()
    assert "Everything, and who else is an owner." in page


def test_an_admin_can_neither_make_an_owner_nor_touch_one(client_for, alice, bob, acme):
    promote(bob, acme, "admin")
    client = client_for(bob)
    mine, hers = member(bob, acme), member(alice, acme)
    client.post(f"/o/acme/team/{mine.pk}/role/", {"role": "owner"})
    client.post(f"/o/acme/team/{hers.pk}/role/", {"role": "viewer"})
    client.post(f"/o/acme/team/{hers.pk}/remove/")
    assert member(bob, acme).role == "admin"
    assert member(alice, acme).role == "owner"


def test_a_stranger_can_not_touch_a_member(client_for, charlie, bob, acme):
    path = f"/o/acme/team/{member(bob, acme).pk}"
    client = client_for(charlie)
    assert client.post(f"{path}/role/", {"role": "viewer"}).status_code == 404
    assert client.post(f"{path}/remove/").status_code == 404
    assert member(bob, acme).role == "developer"
