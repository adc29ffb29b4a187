import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, connection, transaction

from portal.core import clock
from portal.core.tenancy import (
    TenantRequired,
    current_schema,
    is_public,
    tenant_context,
    tenant_task,
    tenants_each,
)

pytestmark = pytest.mark.django_db


def refused(statement):
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def role_now():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return cursor.fetchone()[0]


def test_tenant_context_sets_schema_and_role_and_leaves_them(acme):
    login = role_now()
    with tenant_context(acme.schema_name):
        assert current_schema() == acme.schema_name
        assert role_now() == acme.schema_name
    assert is_public()
    assert role_now() == login


def test_role_is_set_again_after_a_rollback(acme):
    with tenant_context(acme.schema_name):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT nothing_like_it")
        assert role_now() == acme.schema_name


def test_tenant_role_cannot_read_another_schema(acme, globex):
    with tenant_context(acme.schema_name):
        refused(f'SELECT * FROM "{globex.schema_name}".audit_auditevent')
        refused(
            f"SELECT query_to_xml('SELECT * FROM \"{globex.schema_name}\".audit_auditevent', "
            "true, true, '')"
        )


def test_tenant_role_cannot_read_people_or_tokens(acme):
    with tenant_context(acme.schema_name):
        refused("SELECT password FROM public.accounts_user")
        refused("SELECT hash FROM public.accounts_accesstoken")
        refused("SELECT * FROM public.accounts_usersession")


def test_stacked_statements_cannot_change_the_role(acme, globex):
    with tenant_context(acme.schema_name):
        refused(f'SELECT 1; SET ROLE "{globex.schema_name}"')
        refused("SELECT 1; RESET ROLE")
        refused("SELECT set_config('role', 'none', false)")
        assert role_now() == acme.schema_name


def test_tenant_role_cannot_create_tables(acme):
    with tenant_context(acme.schema_name):
        refused("CREATE TABLE mine (id int)")
        refused("CREATE TABLE public.mine (id int)")


def test_what_fails_in_one_organization_is_done_in_the_others_and_then_told(acme, globex):
    done = []

    def work():
        if current_schema() == acme.schema_name:
            raise ValueError("no good")
        done.append(current_schema())

    with pytest.raises(ExceptionGroup) as told:
        tenants_each(work)
    assert [str(error) for error in told.value.exceptions] == ["no good"]
    assert done == [globex.schema_name]
    assert is_public()


def test_a_pass_ends_when_its_time_is_over(acme, globex):
    begun = []

    def work():
        begun.append(current_schema())
        raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        tenants_each(work)
    assert len(begun) == 1


@tenant_task(name="tests.schema_tell")
def schema_tell() -> str:
    return current_schema()


def test_a_task_runs_in_the_schema_that_it_is_told(acme):
    assert schema_tell(schema=acme.schema_name) == acme.schema_name
    assert is_public()


@pytest.mark.parametrize(
    "schema", ["", "public", "pg_catalog", "aerolith_template", "org_" + "0" * 32, 'x"; SELECT 1']
)
def test_a_task_is_refused_for_what_is_no_organizations_schema(acme, schema):
    with pytest.raises(TenantRequired):
        schema_tell(schema=schema)
    assert is_public()


def test_a_task_is_refused_for_an_organization_that_was_deleted(acme):
    acme.deleted_at = clock.now()
    acme.save(update_fields=["deleted_at"])
    with pytest.raises(TenantRequired):
        schema_tell(schema=acme.schema_name)
