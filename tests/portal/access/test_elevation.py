"""Elevation: asked for, approved by another, taken back by the clock."""

import re
from datetime import timedelta

import pytest
from django.test import Client

from portal.access.elevation import elevations_lapse
from portal.access.models import Elevation, RoleBinding
from portal.access.tasks import grants_expire
from portal.accounts.services import token_create
from portal.audit.models import AuditEvent
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership
from tests.conftest import PASSWORD
from tests.portal.access.test_grants import ask, cluster_row

pytestmark = pytest.mark.django_db

PAGE = "/o/acme/access/elevations/"


@pytest.fixture
def owner(client_for, alice):
    return client_for(alice, is_recent=False)


@pytest.fixture
def dev(client_for, bob, acme):
    return client_for(bob)


@pytest.fixture
def shop(acme):
    with tenant_context(acme.schema_name):
        return cluster_row("shop")


def want(role="admin", scope=None, minutes=60, reason="Restore the shop"):
    place = scope or {"kind": "organization"}
    return {"role": role, "scope": place, "minutes": minutes, "reason": reason}


def approve(client, asked, password=PASSWORD):
    return ask(client, f"elevations/{asked['id']}/approve", {"password": password})


def actions(acme):
    with tenant_context(acme.schema_name):
        rows = AuditEvent.objects.filter(target_type__in=["elevation", "grant"]).order_by("pk")
        return list(rows.values_list("action", "actor_label"))


def test_more_is_had_from_the_approval_until_the_time_is_over(owner, dev, shop, acme, monkeypatch):
    path = f"/api/v1/orgs/acme/clusters/{shop.pk}"
    scope = {"kind": "cluster", "value": str(shop.pk)}
    asked = ask(dev, "elevations", want(scope=scope)).json()
    assert (asked["state"], asked["role_name"], asked["ends"]) == ("requested", "Admin", None)
    assert dev.delete(path).json()["permission"] == "clusters:delete"
    now = clock.now()
    approved = approve(owner, asked).json()
    assert approved["state"] == "approved"
    assert approved["ends"] is not None
    # Refused for another reason than who asks: the name was not confirmed.
    assert dev.delete(path).status_code != 403
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=61))
    assert dev.delete(path).status_code == 403
    grants_expire()
    assert actions(acme) == [
        ("elevation.requested", "bob@example.com"),
        ("access.granted", "alice@example.com"),
        ("elevation.approved", "alice@example.com"),
        ("access.expired", "The end of its time"),
    ]


def test_nobody_approves_their_own_request(owner, dev, bob):
    mine = ask(owner, "elevations", want("developer")).json()
    refused = approve(owner, mine)
    assert (refused.status_code, refused.json()["code"]) == (403, "elevation_own")
    assert approve(dev, mine).json()["permission"] == "members:write"
    Membership.objects.filter(user=bob).update(role="admin")
    assert approve(dev, mine).status_code == 200


def test_nobody_approves_what_they_could_not_grant(alice, dev, acme):
    asked = ask(dev, "elevations", want()).json()
    _, secret = token_create(user=alice, name="people", scopes=["members:write"])
    narrow = Client(headers={"Authorization": f"Bearer {secret}"})
    assert approve(narrow, asked).json()["code"] == "grant_beyond_own"
    with tenant_context(acme.schema_name):
        assert not RoleBinding.objects.exists()
        assert Elevation.objects.get().state == "requested"


def test_approving_takes_the_password(owner, dev):
    asked = ask(dev, "elevations", want()).json()
    assert approve(owner, asked, "").json()["code"] == "reauthentication_required"
    assert approve(owner, asked, "not this one").status_code == 403


def test_a_request_is_decided_once(owner, dev, acme):
    asked = ask(dev, "elevations", want()).json()
    denied = ask(owner, f"elevations/{asked['id']}/deny", {}).json()
    assert (denied["state"], denied["decided_by"]) == ("denied", "alice@example.com")
    assert approve(owner, asked).json()["code"] == "elevation_over"
    assert dev.delete(f"/api/v1/orgs/acme/elevations/{asked['id']}").status_code == 409
    assert actions(acme)[-1] == ("elevation.denied", "alice@example.com")


def test_a_request_lapses_after_a_day(owner, dev, acme, monkeypatch):
    asked = ask(dev, "elevations", want()).json()
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=25))
    assert approve(owner, asked).json()["code"] == "elevation_over"
    grants_expire()
    with tenant_context(acme.schema_name):
        assert Elevation.objects.get().state == "lapsed"
        assert elevations_lapse() == 0
        monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=92))
        elevations_lapse()
        assert not Elevation.objects.exists()


def test_one_gives_back_early_or_withdraws(owner, dev, acme):
    first = ask(dev, "elevations", want()).json()
    approve(owner, first)
    assert dev.get("/o/acme/settings/").status_code == 200
    assert dev.delete(f"/api/v1/orgs/acme/elevations/{first['id']}").status_code == 204
    assert dev.get("/o/acme/settings/").status_code == 403
    second = ask(dev, "elevations", want()).json()
    assert owner.delete(f"/api/v1/orgs/acme/elevations/{second['id']}").status_code == 404
    assert dev.delete(f"/api/v1/orgs/acme/elevations/{second['id']}").status_code == 204
    assert [action for action, _ in actions(acme)][-3:] == [
        "access.revoked",
        "elevation.requested",
        "elevation.withdrawn",
    ]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "owner"}, "/role"),
        ({"role": "member"}, "/role"),
        ({"minutes": 4}, "/minutes"),
        ({"minutes": 1441}, "/minutes"),
        ({"reason": " "}, "/reason"),
        ({"reason": "x" * 201}, "/reason"),
        ({"scope": {"kind": "cluster", "value": "x"}}, "/scope/value"),
    ],
)
def test_a_senseless_request_is_refused(dev, change, pointer):
    answer = ask(dev, "elevations", want() | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_the_same_is_asked_for_once_and_little_at_a_time(dev):
    assert ask(dev, "elevations", want()).status_code == 201
    assert ask(dev, "elevations", want()).json()["code"] == "elevation_limit"
    for number in range(9):
        place = {"kind": "label", "value": f"l{number}"}
        assert ask(dev, "elevations", want(scope=place)).status_code == 201
    last = ask(dev, "elevations", want(scope={"kind": "label", "value": "l10"}))
    assert last.json()["code"] == "elevation_limit"


def test_a_member_asks_for_no_cluster_that_they_do_not_see(owner, dev, bob, shop):
    Membership.objects.filter(user=bob).update(role="member")
    scope = {"kind": "cluster", "value": str(shop.pk)}
    hidden = ask(dev, "elevations", want(scope=scope))
    assert hidden.json()["errors"][0]["detail"] == "There is no such cluster."
    page = dev.get(PAGE).content.decode()
    assert "shop" not in page
    # Who sees no team has another way here.
    assert f'href="{PAGE}"' in dev.get("/o/acme/").content.decode()


def test_members_see_their_own_requests_and_approvers_all(owner, dev, client_for, charlie, acme):
    ask(dev, "elevations", want())
    ask(owner, "elevations", want("analyst"))
    rows = [client.get("/api/v1/orgs/acme/elevations").json()["results"] for client in (dev, owner)]
    assert [len(found) for found in rows] == [1, 2]
    assert client_for(charlie).get("/api/v1/orgs/acme/elevations").status_code == 404


def test_who_leaves_asks_for_nothing_any_more(owner, dev, bob, acme):
    ask(dev, "elevations", want())
    mine = Membership.objects.get(user=bob, organization=acme)
    owner.delete(f"/api/v1/orgs/acme/members/{mine.pk}")
    with tenant_context(acme.schema_name):
        assert not Elevation.objects.exists()


def test_the_page_asks_approves_and_gives_back(owner, dev, acme):
    wanted = {"role": "admin", "scope": "organization", "minutes": "60", "reason": "Night shift"}
    assert dev.post(PAGE, wanted).status_code == 302
    mine = dev.get(PAGE).content.decode()
    assert "Withdraw" in mine
    assert "/approve/" not in mine
    page = owner.get(PAGE).content.decode()
    link = re.search(r'action="([^"]+/approve/)"', page)[1]
    without = owner.post(link, follow=True).content.decode()
    assert "Confirm that it is you" in without
    done = owner.post(link, {"password": PASSWORD}, follow=True).content.decode()
    assert "Approved; it ends by itself." in done
    page = dev.get(PAGE).content.decode()
    back = re.search(r'action="([^"]+/end/)"', page)[1]
    assert "Give back" in page
    assert "Ended." in dev.post(back, follow=True).content.decode()
    assert dev.post(PAGE, wanted | {"reason": ""}).status_code == 422


def test_who_has_only_a_passkey_is_led_to_it_before_approving(owner, dev, alice):
    wanted = {"role": "admin", "scope": "organization", "minutes": "60", "reason": "Night shift"}
    assert dev.post(PAGE, wanted).status_code == 302
    alice.passkeys.create(
        name="Key", credential_id=b"id", public_key=b"key", created_at=clock.now()
    )
    page = owner.get(PAGE).content.decode()
    link = re.search(r'href="(/account/confirm/[^"]*)">Or with a passkey', page)[1]
    asked = owner.get(link)
    assert "Confirm with a passkey" in asked.content.decode()
    assert asked.context["next"] == PAGE


def test_those_concerned_are_told_by_mail(
    owner, dev, mailoutbox, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        asked = ask(dev, "elevations", want(reason="It's <down>")).json()
    with django_capture_on_commit_callbacks(execute=True):
        approve(owner, asked)
    told = [(mail.to, mail.subject) for mail in mailoutbox]
    assert told == [
        (["alice@example.com"], "bob@example.com asks for more access in Acme"),
        (["bob@example.com"], "You have the role Admin for 60 minutes"),
    ]
    assert "It's <down>" in mailoutbox[0].body


def test_the_list_costs_the_same_however_many_wait(
    owner, dev, alice, acme, django_assert_max_num_queries
):
    with tenant_context(acme.schema_name):
        Elevation.objects.bulk_create(
            Elevation(
                user_id=alice.pk,
                user_label=f"p{number}@example.com",
                role="admin",
                role_name="Admin",
                scope_kind="organization",
                minutes=5,
                reason="x",
                state="denied",
                requested_at=clock.now(),
            )
            for number in range(60)
        )
    with django_assert_max_num_queries(13):
        assert owner.get(PAGE).status_code == 200
