"""The real Postgres and Valkey of a test session, and one database a worker."""

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from portal.commands.embedded import (
    PostgresConfig,
    ServiceProcess,
    ValkeyConfig,
    postgres_launch,
    postgres_prepare,
    postgres_prepare_login,
    postgres_wait_accepting,
    protect_set_config,
    superuser_connect,
    valkey_launch,
)
from portal.commands.ports import free_ports

BASE_VARIABLE = "AEROLITH_TEST_BASE"
PORT_VARIABLE = "AEROLITH_TEST_POSTGRES_PORT"
TEMPLATE = "aerolith_template"


@dataclass
class Services:
    """What one pytest process uses; the first of the session owns Postgres and the folder."""

    base: Path
    postgres: PostgresConfig
    valkey: ValkeyConfig
    worker: str
    owned: list

    @property
    def database(self) -> str:
        return f"aerolith_{self.worker}"

    def database_url(self, name: str) -> str:
        config = self.postgres
        return f"postgresql://{config.user}:{config.password}@127.0.0.1:{config.port}/{name}"

    def database_create(self, name: str, *, template: str | None = None) -> None:
        """Make a database anew, as a copy of `template`."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name),
            sql.Identifier(self.postgres.user),
            sql.Identifier(template or "template0"),
        )
        with superuser_connect(self.postgres) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
            connection.execute(statement)
        if template is None:
            with superuser_connect(self.postgres, name) as connection:
                protect_set_config(connection, self.postgres.user)

    def database_drop(self, name: str) -> None:
        with superuser_connect(self.postgres) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    @contextmanager
    def locked(self, name: str):
        """Hold a lock that all workers of the session share."""
        with (self.base / f"{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def stop(self) -> None:
        for process in reversed(self.owned):
            process.stop()
        if BASE_VARIABLE in os.environ and os.environ.get("PYTEST_XDIST_WORKER") is None:
            shutil.rmtree(self.base, ignore_errors=True)


def _settings(base: Path) -> Services:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return Services(
        base=base,
        postgres=PostgresConfig(
            data=base / "postgres",
            port=int(os.environ[PORT_VARIABLE]),
            superuser_password="tests-superuser",
            user="aerolith",
            password="tests",
            database="aerolith",
            may_create_databases=True,
            is_durable=False,
        ),
        valkey=ValkeyConfig(
            data=base / f"valkey-{worker}",
            port=free_ports(1)[0],
            password="tests",
            is_durable=False,
        ),
        worker=worker,
        owned=[],
    )


def services_announce() -> Services:
    """Choose places and ports, and tell them to Django's settings by the environment."""
    if BASE_VARIABLE not in os.environ:
        base = Path(tempfile.mkdtemp(prefix="aerolith-tests-"))
        # Postgres runs as somebody else when the tests run as root.
        base.chmod(0o711)
        os.environ[BASE_VARIABLE] = str(base)
        os.environ[PORT_VARIABLE] = str(free_ports(1)[0])
    services = _settings(Path(os.environ[BASE_VARIABLE]))
    home = services.base / f"home-{services.worker}"
    home.mkdir(exist_ok=True, mode=0o711)
    os.environ["AEROLITH_HOME"] = str(home)
    os.environ["DATABASE_URL"] = services.database_url(services.database)
    os.environ["VALKEY_URL"] = services.valkey.url
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.config.settings.test"
    return services


def postgres_start(services: Services) -> None:
    """Start the session's Postgres; called once, by the process that pytest was started as."""
    postgres_prepare(services.postgres)
    process = ServiceProcess(
        postgres_launch(services.postgres),
        port=services.postgres.port,
        log_path=services.base / "postgres.log",
    )
    services.owned.append(process)
    process.wait_ready()
    postgres_wait_accepting(services.postgres)
    postgres_prepare_login(services.postgres)


def valkey_start(services: Services) -> None:
    """Start this worker's own Valkey: groups of one worker must not reach another's tests."""
    process = ServiceProcess(
        valkey_launch(services.valkey),
        port=services.valkey.port,
        log_path=services.base / f"valkey-{services.worker}.log",
    )
    services.owned.append(process)
    process.wait_ready()
