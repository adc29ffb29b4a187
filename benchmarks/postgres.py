"""One PostgreSQL (the embedded wheel) that holds documents as JSONB: the peer for questions."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import psycopg

from portal.commands.embedded import (
    PostgresConfig,
    ServiceProcess,
    postgres_launch,
    postgres_prepare,
    postgres_prepare_login,
    postgres_wait_accepting,
    superuser_connect,
)
from portal.commands.ports import free_ports

COPY_ROWS: Final = 1_000
INDEXES: Final = (
    "create index on flights ((body->>'dest'))",
    "create index on flights (((body->>'dep_delay')::int))",
    "create index on flights ((body->>'carrier'))",
)


class Postgres:
    """Start it, fill it, ask it; synchronous commit is on, as it is by default."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._config = PostgresConfig(
            data=directory / "data",
            port=free_ports(1)[0],
            superuser_password=secrets.token_hex(16),
            user="bench",
            password=secrets.token_hex(16),
            database="bench",
        )
        self._directory = directory
        self._process: ServiceProcess | None = None
        self.connection: psycopg.Connection[tuple[Any, ...]]

    def start(self) -> None:
        """Make the database and connect."""
        postgres_prepare(self._config)
        launch = postgres_launch(self._config)
        log = self._directory / "postgres.log"
        self._process = ServiceProcess(launch, port=self._config.port, log_path=log)
        self._process.wait_ready()
        postgres_wait_accepting(self._config)
        postgres_prepare_login(self._config)
        self.connection = superuser_connect(self._config, self._config.database)
        self.connection.execute("create table flights (id text primary key, body jsonb not null)")

    def fill(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Insert documents, 1,000 a statement, each statement on disk before the next."""
        insert = "insert into flights values (%s, %s::jsonb)"
        with self.connection.cursor() as cursor:
            batch: list[tuple[str, str]] = []
            for key, document in rows:
                batch.append((key, json.dumps(document)))
                if len(batch) == COPY_ROWS:
                    self._insert(cursor, insert, batch)
            self._insert(cursor, insert, batch)

    def _insert(
        self, cursor: psycopg.Cursor[tuple[Any, ...]], insert: str, batch: list[tuple[str, str]]
    ) -> None:
        with self.connection.transaction():
            cursor.executemany(insert, batch)
        batch.clear()

    def index(self) -> None:
        """Make the indexes, and look at the rows for the planner."""
        for statement in INDEXES:
            self.connection.execute(statement)
        self.connection.execute("analyze flights")

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of a question."""
        return self.connection.execute(question).fetchall()

    @property
    def stored_bytes(self) -> int:
        """What the table takes on disk, with its indexes."""
        return int(self.ask("select pg_total_relation_size('flights')")[0][0])

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop()
