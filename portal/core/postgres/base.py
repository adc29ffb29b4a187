"""Database engine that sets the schema and the role of the tenant together, in one trip.

django-tenants sets the search path; we add `SET ROLE`, and force the extended protocol on every
statement. Under it Postgres takes one statement at a time, so that injected text can not append
a `SET ROLE` of its own; psycopg alone would use the simple protocol when there are no parameters.
"""

from typing import Any, override

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.ddl_references import Statement
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django_tenants.postgresql_backend import base
from django_tenants.utils import get_public_schema_name
from psycopg import pq
from psycopg._queries import PostgresQuery


class SingleStatementCursor(ServerBindingCursor):
    """A cursor that never uses the simple protocol, hence never runs two statements."""

    def _execute_send(
        self, query: PostgresQuery, *, force_extended: bool = False, binary: bool | None = None
    ) -> None:
        # A method of psycopg's cursor; Django's stubs hide the base.
        super()._execute_send(query, force_extended=True, binary=binary)  # type: ignore[misc]


class SchemaEditor(DatabaseSchemaEditor):
    """Runs migrations, whose text is ours alone and may hold two statements at a time."""

    @override
    def execute(self, sql: Statement | str, params: Any = ()) -> None:
        self.connection.ensure_connection()
        connection = self.connection.connection
        before = connection.cursor_factory
        connection.cursor_factory = ServerBindingCursor
        try:
            super().execute(sql, params)
        finally:
            connection.cursor_factory = before


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]  # no stubs
    """Connections of the portal; the schema in force decides the role in force."""

    SchemaEditorClass = SchemaEditor

    # Set by `portal.core.tenancy.as_owner`: tables are made and changed by the login role.
    is_owner = False
    search_path_set_schemas: list[str] | None

    @override
    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        parameters["cursor_factory"] = SingleStatementCursor
        return parameters

    @override
    def _handle_search_path(self, cursor: object = None) -> None:
        """Set path and role by one round trip, unless they are in force already."""
        if self._setting_search_path or self.search_path_set_schemas:
            return
        if not self.schema_name:
            raise ImproperlyConfigured("no schema is set")
        raw = self.connection.pgconn
        if raw.transaction_status == pq.TransactionStatus.INERROR:
            return  # Only a rollback can follow, and that clears what we remember.
        paths = self._get_cursor_search_paths()
        # The path is quoted by us and the names were validated; the simple protocol saves a trip.
        path = ", ".join(f'"{name}"' for name in paths)
        is_public = self.schema_name == get_public_schema_name()
        role = "RESET ROLE" if is_public or self.is_owner else f'SET ROLE "{self.schema_name}"'
        self._run_raw(f"SET search_path = {path}; {role}")
        self.search_path_set_schemas = paths

    def _run_raw(self, statements: str) -> None:
        """Send text that we composed ourselves, outside Django's cursors."""
        raw = self.connection.pgconn
        with self.wrap_database_errors:
            answer = raw.exec_(statements.encode())
            if answer.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
                raise self.Database.ProgrammingError(answer.error_message.decode().strip())
