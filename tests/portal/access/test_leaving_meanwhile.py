"""Whoever leaves while somebody gives them something: nothing of it stays behind."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from portal.access.bindings import Principal, binding_grant
from portal.access.models import RoleBinding, Team, TeamMember
from portal.access.resolving import access_of
from portal.access.services import member_leave
from portal.access.teams import team_create, team_member_add
from portal.access.types import Scope
from portal.core.errors import Invalid
from portal.core.tenancy import tenant_context
from portal.organizations.selectors import membership_get

pytestmark = pytest.mark.django_db(transaction=True)

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"


def grant(access, user):
    binding_grant(access, principal=Principal(user.pk), role="viewer", scope=Scope())


def put_into_team(access, user):
    team_member_add(access, team_id=Team.objects.get().pk, user_id=user.pk)


@pytest.mark.parametrize("give", [grant, put_into_team])
def test_who_leaves_while_something_is_given_to_them_is_given_nothing(acme, alice, bob, give):
    def access(user):
        return access_of(user, membership_get(user_id=user.pk, slug=acme.slug))

    with tenant_context(acme.schema_name):
        owner, leaver = access(alice), access(bob)
        team_create(owner, name="Payments")
    backends = []

    def work():
        try:
            with tenant_context(acme.schema_name), connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                backends.append(cursor.fetchone()[0])
                give(owner, bob)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        with tenant_context(acme.schema_name), transaction.atomic():
            member_leave(leaver)
            giving = pool.submit(work)
            wait_for_lock(giving, backends)
        with pytest.raises(Invalid):
            giving.result(timeout=20)
    with tenant_context(acme.schema_name):
        assert not RoleBinding.objects.exists()
        assert not TeamMember.objects.exists()


def wait_for_lock(giving, backends):
    """Return once the other connection waits for this one, or has ended without."""
    until = time.monotonic() + 20
    while time.monotonic() < until and not giving.done():
        if backends:
            with connection.cursor() as cursor:
                cursor.execute(WAITING, backends)
                if cursor.fetchone()[0]:
                    return
        time.sleep(0.01)
