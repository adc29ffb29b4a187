"""The fixtures that all portal tests stand on."""

import pytest
from django.db import connection

from portal.core.tenancy import current_schema


def test_people_and_organizations_are_ready(alice, bob, charlie, olga, acme, globex):
    assert set(acme.memberships.values_list("user__email", "role")) == {
        (alice.email, "owner"),
        (bob.email, "developer"),
    }
    assert [charlie.pk] == list(globex.memberships.values_list("user", flat=True))
    assert olga.is_staff


def test_in_acme_enters_the_schema_and_the_role(in_acme):
    assert current_schema() == in_acme.schema_name
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, session_user")
        assert cursor.fetchone() == (in_acme.schema_name, "aerolith")


@pytest.mark.django_db(transaction=True)
def test_a_test_that_commits_1(django_user_model):
    django_user_model.objects.create_user(email="left@example.com", password="x" * 12)


@pytest.mark.django_db(transaction=True)
def test_a_test_that_commits_leaves_nothing_for_the_next(django_user_model):
    emails = set(django_user_model.objects.values_list("email", flat=True))
    assert "alice@example.com" in emails
    assert "left@example.com" not in emails


def test_the_login_role_is_no_superuser(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname=session_user"
        )
        assert cursor.fetchone() == (False, True, False)
