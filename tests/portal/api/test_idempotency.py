"""Repeating a write: who may be told again what was answered."""

import pytest
from django.test import Client

from portal.accounts.services import token_create
from portal.api.models import IdempotencyRecord
from portal.organizations.models import Membership
from portal.organizations.services import membership_change_role, membership_remove

pytestmark = pytest.mark.django_db

PATH = "/api/v1/orgs/acme/tokens"


def client_of(user, **options):
    _, secret = token_create(user=user, name="caller", **options)
    return Client(headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "again"})


def send(client, name="made", path=PATH):
    return client.post(path, {"name": name}, content_type="application/json")


def test_a_member_who_was_removed_is_told_nothing_of_what_was_answered(alice, bob, acme):
    client = client_of(bob)
    first = send(client)
    assert first.status_code == 201
    assert send(client).json() == first.json()
    membership = Membership.objects.get(user=bob, organization=acme)
    membership_remove(actor=alice, membership=membership)
    again = send(client)
    assert again.status_code == 404
    assert first.json()["secret"] not in again.content.decode()


def test_what_is_kept_of_a_body_with_a_password_is_no_hash_to_guess_it_by(bob, acme, settings):
    client = client_of(bob)
    assert send(client).status_code == 201
    kept = IdempotencyRecord.objects.get()
    settings.SECRET_KEY = "another key of another installation"
    assert send(client).json()["code"] == "idempotency_key_reused"
    assert IdempotencyRecord.objects.get().digest == kept.digest


def test_another_token_of_the_same_user_is_another_caller(bob, acme):
    first = send(client_of(bob))
    assert first.status_code == 201
    narrow = send(client_of(bob, scopes=["clusters:read"]))
    assert narrow.status_code == 403
    assert narrow.json()["permission"] == "tokens:write"
    as_wide = send(client_of(bob))
    assert as_wide.status_code == 201
    assert as_wide.json()["id"] != first.json()["id"]


def test_a_session_is_another_caller_than_a_token(bob, acme, client_for):
    first = send(client_of(bob))
    browser = client_for(bob, headers={"Idempotency-Key": "again"})
    assert send(browser).json()["id"] != first.json()["id"]


def test_who_lost_a_permission_is_not_told_the_answer_again(alice, bob, acme):
    client = client_of(bob)
    assert send(client).status_code == 201
    membership = Membership.objects.get(user=bob, organization=acme)
    membership = membership_change_role(actor=alice, membership=membership, role="viewer")
    again = send(client)
    assert again.status_code == 403
    assert "secret" not in again.json()
    membership_change_role(actor=alice, membership=membership, role="admin")
    assert send(client).status_code == 201


def test_a_refusal_is_not_kept(alice, bob, acme):
    membership = Membership.objects.get(user=bob, organization=acme)
    membership = membership_change_role(actor=alice, membership=membership, role="viewer")
    client = client_of(bob)
    assert send(client).status_code == 403
    membership_change_role(actor=alice, membership=membership, role="developer")
    assert send(client).status_code == 201


def test_a_write_outside_of_organizations_is_done_once(alice):
    client = client_of(alice)
    first = send(client, "Initech", "/api/v1/orgs")
    assert first.status_code == 201
    again = send(client, "Initech", "/api/v1/orgs")
    assert again.json() == first.json()
    assert again["Idempotent-Replayed"] == "true"
    assert IdempotencyRecord.objects.count() == 1
