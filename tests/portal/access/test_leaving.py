"""Leaving takes no permission, and what one had goes with it."""

import pytest

from portal.core.errors import NotFound
from portal.organizations.errors import RoleChanged
from portal.organizations.models import Membership
from portal.organizations.services import membership_change_role, membership_remove

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


def test_nobody_is_removed_or_changed_by_what_they_were_a_moment_ago(alice, bob, acme):
    seen = Membership.objects.select_related("user", "organization").get(user=bob)
    Membership.objects.filter(pk=seen.pk).update(role="owner")
    with pytest.raises(RoleChanged):
        membership_remove(actor=alice, membership=seen)
    with pytest.raises(RoleChanged):
        membership_change_role(actor=alice, membership=seen, role="viewer")
    assert Membership.objects.get(pk=seen.pk).role == "owner"


def test_who_left_a_moment_ago_is_not_found(alice, bob, acme):
    seen = Membership.objects.select_related("user", "organization").get(user=bob)
    membership_remove(actor=alice, membership=seen)
    with pytest.raises(NotFound):
        membership_remove(actor=alice, membership=seen)
