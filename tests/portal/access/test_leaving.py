"""Leaving takes no permission, and what one had goes with it."""

import pytest

from portal.organizations.models import Membership

pytestmark = pytest.mark.django_db


@pytest.fixture
def guest(bob, client_for):
    Membership.objects.filter(user=bob).update(role="member")
    return client_for(bob)


def test_who_sees_no_team_leaves_by_the_menu(guest, bob, acme):
    page = guest.get("/o/acme/").content.decode()
    assert 'action="/o/acme/team/leave/"' in page
    assert guest.post("/o/acme/team/leave/")["Location"] == "/organizations/"
    assert not Membership.objects.filter(user=bob, organization=acme).exists()
    assert guest.get("/o/acme/").status_code == 404


def test_who_sees_no_team_leaves_by_the_api(guest, bob, acme):
    assert guest.delete("/api/v1/orgs/acme/members/me").status_code == 204
    assert not Membership.objects.filter(user=bob, organization=acme).exists()


def test_the_last_owner_leaves_in_no_way(client_for, alice, acme):
    client = client_for(alice)
    assert client.delete("/api/v1/orgs/acme/members/me").json()["code"] == "last_owner"
    answer = client.post("/o/acme/team/leave/", follow=True)
    assert "Make someone else an owner first." in answer.content.decode()
    assert Membership.objects.filter(user=alice, organization=acme).exists()
