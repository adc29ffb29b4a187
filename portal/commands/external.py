"""Somebody else's Postgres and Valkey: looked at before a start relies on them, told in words.

Nothing here changes a server. What cannot become right by waiting is refused at once; a server
that does not answer yet is given a few seconds, since both may be starting together.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import redis
from psycopg import sql
from psycopg.rows import class_row

WAIT_S = 15.0
PAUSE_S = 0.25
ATTEMPT_TIMEOUT_S = 5
# Organizations' roles are granted WITH INHERIT FALSE, SET TRUE.
POSTGRES_VERSION_MIN = 16
SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"
# How a server says that it will take us later.
PASSING = ("starting up", "shutting down", "too many", "remaining connection slots")

type Tell = Callable[[str], None]


class ExternalServiceError(Exception):
    """A server that we were told to use cannot be used; the text says what to do."""


class NotYetError(Exception):
    """A server does not answer; it may do so in a moment."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a login role finds in its database."""

    version: int
    encoding: str
    role: str
    database: str
    is_superuser: bool
    is_replica: bool
    may_create_roles: bool
    may_create_schemas: bool
    may_create_tables: bool
    may_set_config: bool
    everybody_may_set_config: bool
    is_empty: bool


_FACTS = """
    SELECT current_setting('server_version_num')::int / 10000 AS version,
        current_setting('server_encoding') AS encoding,
        current_user::text AS role,
        current_database()::text AS database,
        rolsuper AS is_superuser,
        pg_is_in_recovery() AS is_replica,
        rolsuper OR rolcreaterole AS may_create_roles,
        has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
        coalesce(
            (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'),
            false
        ) AS may_create_tables,
        has_function_privilege('pg_catalog.set_config(text, text, boolean)', 'EXECUTE')
            AS may_set_config,
        has_function_privilege('public', 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE')
            AS everybody_may_set_config,
        to_regclass('public.django_migrations') IS NULL AS is_empty
    FROM pg_roles WHERE rolname = current_user
"""


async def database_ready(url: str, *, tell: Tell, warn: Tell) -> DatabaseFacts:
    """Wait until the database takes us, and see that it lets us do what we have to.

    Raises:
        ExternalServiceError: It does not answer, refuses us, is too old, or a right is missing.
    """
    facts = await _attempts(lambda: _database_look(url), tell=tell)
    if complaint := database_complaint(facts):
        raise ExternalServiceError(f"DATABASE_URL: {complaint}")
    for warning in database_warnings(facts):
        warn(f"DATABASE_URL: {warning}")
    return facts


async def valkey_ready(url: str, *, tell: Tell, warn: Tell) -> None:
    """Wait until the Valkey or Redis takes us.

    Raises:
        ExternalServiceError: It does not answer or refuses us.
    """
    policy = await _attempts(lambda: _valkey_look(url), tell=tell)
    if policy not in {"", "noeviction"}:
        warn(
            f"VALKEY_URL: its maxmemory-policy is {policy}, by which it may forget work "
            "that waits; set it to noeviction"
        )


def database_complaint(facts: DatabaseFacts) -> str | None:
    """Return what makes a database unusable, with the statement that mends it."""
    role, database = _quoted(facts.role), _quoted(facts.database)
    checks = [
        (
            facts.version < POSTGRES_VERSION_MIN,
            f"the server is Postgres {facts.version}; the oldest usable is {POSTGRES_VERSION_MIN}",
        ),
        (facts.is_replica, "the server is a read-only replica; name the primary"),
        (
            facts.encoding != "UTF8",
            f"the database {database} is encoded in {facts.encoding}; make one in UTF8",
        ),
        (
            not facts.may_create_roles,
            (
                f"the role {role} may not create roles, and every organization gets one; "
                f"as a superuser: ALTER ROLE {role} CREATEROLE"
            ),
        ),
        (
            not (facts.may_create_schemas and facts.may_create_tables),
            (
                f"the role {role} may not create schemas and tables in the database {database}; "
                f"as a superuser: ALTER DATABASE {database} OWNER TO {role}"
            ),
        ),
        (
            not facts.may_set_config,
            (
                f"the role {role} may not call set_config; as a superuser, in this database: "
                f"GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {role}"
            ),
        ),
    ]
    return next((text for is_wrong, text in checks if is_wrong), None)


def database_warnings(facts: DatabaseFacts) -> list[str]:
    """Return what works, but separates organizations less well than the embedded server does."""
    warnings = []
    if facts.is_superuser:
        warnings.append(
            f"the role {_quoted(facts.role)} is a superuser; give the portal a role of its own "
            "with LOGIN CREATEROLE that owns its database"
        )
    if facts.everybody_may_set_config:
        warnings.append(
            "every role may call set_config; as a superuser, in this database: "
            f"REVOKE EXECUTE ON FUNCTION {SET_CONFIG} FROM PUBLIC; "
            f"GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {_quoted(facts.role)}"
        )
    return warnings


async def _attempts[T](attempt: Callable[[], T], *, tell: Tell) -> T:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + WAIT_S
    has_told = False
    while True:
        try:
            return await asyncio.to_thread(attempt)
        except NotYetError as error:
            if loop.time() >= ends_at:
                raise ExternalServiceError(f"{error} (tried for {WAIT_S:g} s)") from error
            if not has_told:
                tell(f"{error}; trying for {WAIT_S:g} s")
                has_told = True
        await asyncio.sleep(PAUSE_S)


def _database_look(url: str) -> DatabaseFacts:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=ATTEMPT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        text = _one_line(error)
        is_answer = "FATAL:" in text
        if is_answer and not any(words in text for words in PASSING):
            raise ExternalServiceError(f"DATABASE_URL is refused: {text}") from error
        raise NotYetError(f"the Postgres of DATABASE_URL does not serve: {text}") from error
    except psycopg.ProgrammingError as error:
        # Its text quotes the URL, and with it perhaps a part of the password.
        raise ExternalServiceError(
            "DATABASE_URL cannot be read; it is postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with special characters as %XX"
        ) from error
    with connection, connection.cursor(row_factory=class_row(DatabaseFacts)) as cursor:
        found = cursor.execute(_FACTS).fetchone()
    assert found is not None, "the role that is logged in"
    return found


def _valkey_look(url: str) -> str:
    """Return the policy of a full server, empty when it keeps that to itself."""
    try:
        server = redis.Redis.from_url(
            url, socket_connect_timeout=ATTEMPT_TIMEOUT_S, socket_timeout=ATTEMPT_TIMEOUT_S
        )
    except ValueError as error:
        raise ExternalServiceError(
            "VALKEY_URL cannot be read; it is redis://:PASSWORD@HOST:PORT/0, or rediss:// for TLS, "
            "with special characters as %XX"
        ) from error
    try:
        with server:
            server.ping()
            return _policy(server)
    except redis.AuthenticationError as error:
        raise ExternalServiceError(f"VALKEY_URL is refused: {_one_line(error)}") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise NotYetError(f"the server of VALKEY_URL does not serve: {_one_line(error)}") from error
    except redis.RedisError as error:
        raise ExternalServiceError(f"VALKEY_URL is refused: {_one_line(error)}") from error


def _policy(server: redis.Redis) -> str:
    try:
        return str(server.info("memory").get("maxmemory_policy", ""))
    except redis.ResponseError:
        return ""


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
