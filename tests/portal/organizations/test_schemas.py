"""An organization's schema: replayed from a dump, alike to a migrated one, and soon there."""

import re
import time

import pytest
from django.db import connection

from portal.core.ids import uuid7
from portal.core.tenancy import as_owner, tenant_context
from portal.organizations import schemas

pytestmark = pytest.mark.django_db(transaction=True)

# A goal for idle machines; tests share theirs.
CREATION_S = 2.0
QUESTIONS = {
    "relations": """
        SELECT c.relname, c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity
        FROM pg_class c WHERE c.relnamespace = %(schema)s::regnamespace""",
    "columns": """
        SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, a.attgenerated, a.attcollation::regcollation::text,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = %(schema)s::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %(schema)s""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, condeferrable, condeferred, convalidated,
               pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by, min_value, max_value, cycle
        FROM pg_sequences WHERE schemaname = %(schema)s""",
    "triggers": """
        SELECT tgname, tgrelid::regclass::text, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE c.relnamespace = %(schema)s::regnamespace AND NOT tgisinternal""",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = %(schema)s::regnamespace""",
    "grants": """
        SELECT c.relname, coalesce(c.relacl::text, '') FROM pg_class c
        WHERE c.relnamespace = %(schema)s::regnamespace""",
    "default grants": """
        SELECT defaclobjtype, defaclacl::text FROM pg_default_acl
        WHERE defaclnamespace = %(schema)s::regnamespace""",
}


def plain(row: str, schema: str) -> str:
    """Leave out the schema's name, and what Postgres adds when it reads its own text again.

    `IN ('a', 'b')` comes back with a cast around the list, and from a dump with one on each item.
    """
    without_casts = re.sub(r"::(?:character varying|text)(?:\[\])?", "", row)
    return without_casts.replace(schema, "SCHEMA").replace("(", "").replace(")", "")


def described(schema: str) -> dict[str, list[str]]:
    """Return what the catalogue says of a schema, its own name left out."""
    found = {}
    with connection.cursor() as cursor:
        for name, question in QUESTIONS.items():
            cursor.execute(question, {"schema": schema})
            found[name] = sorted(plain(repr(row), schema) for row in cursor.fetchall())
    with tenant_context(schema), as_owner(), connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY app, name")
        found["applied migrations"] = [repr(row) for row in cursor.fetchall()]
    return found


def name() -> str:
    return f"org_{uuid7().hex}"


@pytest.fixture
def replayed(monkeypatch):
    """A schema made by replay, by a process that never migrated one."""
    schemas.schema_prepare()
    made = name()
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "_migrate", lambda *_: pytest.fail("it was migrated"))
        schemas.schema_create(made)
    return made


@pytest.fixture
def migrated(monkeypatch):
    """A schema made by running the migrations."""
    made = name()
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "_dumps", {})
        schemas.schema_create(made)
    return made


def test_a_replayed_schema_equals_a_migrated_one(replayed, migrated):
    ours, theirs = described(replayed), described(migrated)
    for what in theirs:
        assert ours[what] == theirs[what], what
    assert len(theirs["indexes"]) > 20
    assert len(theirs["constraints"]) > 20
    assert any("audit_auditevent" in row for row in theirs["relations"])
    assert theirs["applied migrations"]


def test_a_replayed_schema_has_no_rows_and_counts_from_one(replayed):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'",
            [replayed],
        )
        tables = {row[0] for row in cursor.fetchall()} - {"django_migrations"}
        filled = []
        for table in sorted(tables):
            cursor.execute(f'SELECT count(*) FROM "{replayed}"."{table}"')
            filled += [table] if cursor.fetchone()[0] else []
        cursor.execute(
            "SELECT last_value FROM pg_sequences WHERE schemaname = %s AND sequencename LIKE %s",
            [replayed, "audit%"],
        )
        counted = [row[0] for row in cursor.fetchall()]
    assert filled == []
    assert counted == [None]


def test_another_migration_needs_another_template(monkeypatch, tmp_path):
    before = schemas._migrations_digest.__wrapped__()
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_initial.py").write_text("one")

    class Config:
        label = "audit"
        path = str(tmp_path)

    monkeypatch.setattr(schemas.apps, "get_app_config", lambda _: Config)
    first = schemas._migrations_digest.__wrapped__()
    (folder / "0001_initial.py").write_text("two")
    assert len({before, first, schemas._migrations_digest.__wrapped__()}) == 3


def test_an_organization_is_made_in_two_seconds_by_a_click(client_for, charlie):
    client = client_for(charlie)
    began = time.monotonic()
    answer = client.post("/organizations/new/", {"name": "Swift"})
    took = time.monotonic() - began
    assert answer["Location"] == "/o/swift/"
    assert client.get("/o/swift/").status_code == 200
    assert took < CREATION_S
