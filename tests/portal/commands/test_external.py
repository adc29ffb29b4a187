"""`up` with a Postgres and a Valkey that somebody else runs."""

import json
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest
import redis

from portal.commands import external
from portal.commands.embedded import (
    PostgresConfig,
    ServiceProcess,
    ValkeyConfig,
    postgres_launch,
    postgres_prepare,
    protect_set_config,
    superuser_connect,
    valkey_launch,
)
from portal.commands.external import (
    DatabaseFacts,
    ExternalServiceError,
    database_complaint,
    database_ready,
    valkey_ready,
)
from portal.commands.ports import free_ports
from tests.installations import installation
from tests.supervisors import until

ROLES = """
    CREATE ROLE portal LOGIN CREATEROLE PASSWORD 'a p@ss/word';
    CREATE ROLE weak LOGIN PASSWORD 'weak';
    CREATE ROLE guest LOGIN CREATEROLE PASSWORD 'guest';
"""
DATABASES = (
    "CREATE DATABASE portal OWNER portal",
    "CREATE DATABASE weak OWNER weak",
    "CREATE DATABASE wide OWNER portal",
)
SECRET = "a%20p%40ss%2Fword"


def answers(config):
    with suppress(psycopg.OperationalError):
        superuser_connect(config).close()
        return True


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    config = PostgresConfig(
        data=tmp_path_factory.mktemp("theirs") / "postgres",
        port=free_ports(1)[0],
        superuser_password="super",
        user="portal",
        password=SECRET,
        database="portal",
        is_durable=False,
    )
    postgres_prepare(config)
    launch, log = postgres_launch(config), config.data.parent / "postgres.log"
    server = ServiceProcess(launch, port=config.port, log_path=log)
    try:
        until(lambda: answers(config), what="their Postgres")
        with superuser_connect(config) as connection:
            connection.execute(ROLES)
            for statement in DATABASES:
                connection.execute(statement)
        with superuser_connect(config, "portal") as connection:
            protect_set_config(connection, "portal")
        yield config
    finally:
        server.stop()


@contextmanager
def valkey_server(config):
    log = config.data.parent / "valkey.log"
    server = ServiceProcess(valkey_launch(config), port=config.port, log_path=log)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    config = ValkeyConfig(
        data=tmp_path_factory.mktemp("theirs") / "valkey",
        port=free_ports(1)[0],
        password="hush",
        is_durable=False,
    )
    with valkey_server(config):
        yield config


@pytest.fixture
def theirs(tmp_path, postgres, valkey):
    """An installation that is told to use the servers."""
    with installation(tmp_path / "home") as made:
        made.environment |= {"DATABASE_URL": postgres.url, "VALKEY_URL": valkey.url}
        yield made


def url(postgres, user, password, database):
    return f"postgresql://{user}:{password}@127.0.0.1:{postgres.port}/{database}"


def get(address, secret):
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def schemas(postgres):
    with superuser_connect(postgres, "portal") as connection:
        rows = connection.execute(
            "SELECT nspname, rolname FROM pg_namespace JOIN pg_roles ON rolname = nspname"
        )
        return rows.fetchall()


def test_up_works_on_the_named_servers_starts_none_and_leaves_them_alone(theirs, postgres, valkey):
    summary = theirs.up()
    names = set(theirs.processes())
    assert {"web", "worker", "beat", "collector", "demo-traffic"} < names
    assert not {"postgres", "valkey"} & names
    assert not {"postgres", "valkey"} & {path.name for path in theirs.home.iterdir()}
    cluster = summary["demo"]["cluster"]
    address = f"{cluster['nodes'][3]['url']}/api/v1/collections/airports/documents/EDDF"
    assert get(address, cluster["api_key"])["country"] == "DE"
    assert get(summary["portal"] + "api/v1/me", summary["demo"]["api_token"])
    assert len([name for name, _ in schemas(postgres) if name.startswith("org_")]) == 1
    assert theirs.manage("down").stdout.strip() == "stopped"
    assert answers(postgres)
    assert redis.Redis.from_url(valkey.url).ping()
    # The same home on a database that was emptied meanwhile: what was prepared is not believed.
    with superuser_connect(postgres) as connection:
        connection.execute("DROP DATABASE portal WITH (FORCE)")
        connection.execute("CREATE DATABASE portal OWNER portal")
    again = theirs.up("--no-demo")
    with urllib.request.urlopen(again["portal"] + "login/", timeout=10) as answer:
        assert answer.status == 200


def test_up_says_what_is_wrong_and_ends(theirs, postgres):
    theirs.environment["DATABASE_URL"] = url(postgres, "portal", "sesame", "portal")
    answer = theirs.manage("up", "--detach", "--wait", "--json")
    assert answer.returncode == 1
    assert "DATABASE_URL is refused" in answer.stderr
    assert 'password authentication failed for user "portal"' in answer.stderr
    assert "sesame" not in answer.stderr
    assert theirs.manage("status").returncode == 3


def test_a_url_that_cannot_be_read_is_told_without_its_password(theirs):
    theirs.environment["DATABASE_URL"] = "postgresql://portal:ses/ame@127.0.0.1/portal"
    answer = theirs.manage("up", "--detach")
    assert answer.returncode == 1
    assert answer.stderr.startswith("the settings are not usable: DATABASE_URL")
    assert "ses" not in answer.stderr.removeprefix("the settings")


def test_a_url_may_come_from_a_file(theirs, postgres, tmp_path):
    (tmp_path / "url").write_text(url(postgres, "weak", "weak", "weak") + "\n")
    del theirs.environment["DATABASE_URL"]
    theirs.environment["DATABASE_URL_FILE"] = str(tmp_path / "url")
    answer = theirs.manage("up", "--detach", "--wait")
    assert 'the role "weak" may not create roles' in answer.stderr
    assert not (theirs.home / "postgres").exists()


@pytest.mark.parametrize(
    ("user", "password", "database", "words"),
    [
        ("portal", "sesame", "portal", "password authentication failed"),
        ("nobody", "sesame", "portal", "authentication failed"),
        ("portal", SECRET, "elsewhere", 'database "elsewhere" does not exist'),
        ("weak", "weak", "weak", 'ALTER ROLE "weak" CREATEROLE'),
        ("guest", "guest", "wide", 'ALTER DATABASE "wide" OWNER TO "guest"'),
    ],
)
async def test_a_database_that_refuses_is_told_at_once(postgres, user, password, database, words):
    told = []
    with pytest.raises(ExternalServiceError) as refused:
        await database_ready(
            url(postgres, user, password, database), tell=told.append, warn=told.append
        )
    assert words in str(refused.value)
    assert "sesame" not in str(refused.value)
    assert told == []


async def test_the_statements_that_are_told_mend_it(postgres):
    address = url(postgres, "portal", SECRET, "wide")
    warnings = []
    await database_ready(address, tell=warnings.append, warn=warnings.append)
    revoke, grant = warnings[0].partition("in this database: ")[2].split("; ")
    with superuser_connect(postgres, "wide") as connection:
        connection.execute(revoke)
    with pytest.raises(ExternalServiceError, match="GRANT EXECUTE ON FUNCTION"):
        await database_ready(address, tell=warnings.append, warn=warnings.append)
    with superuser_connect(postgres, "wide") as connection:
        connection.execute(grant)
    facts = await database_ready(address, tell=warnings.append, warn=warnings.append)
    assert facts.is_empty
    assert len(warnings) == 1


async def test_a_superuser_works_but_is_warned_of(postgres):
    warnings = []
    address = url(postgres, "postgres", "super", "wide")
    await database_ready(address, tell=warnings.append, warn=warnings.append)
    assert "is a superuser" in warnings[0]


def test_old_servers_replicas_and_encodings_are_refused():
    good = DatabaseFacts(
        version=16,
        encoding="UTF8",
        role="portal",
        database="portal",
        is_superuser=False,
        is_replica=False,
        may_create_roles=True,
        may_create_schemas=True,
        may_create_tables=True,
        may_set_config=True,
        everybody_may_set_config=False,
        is_empty=True,
    )
    assert database_complaint(good) is None
    for change, words in (
        ({"version": 15}, "oldest usable is 16"),
        ({"is_replica": True}, "read-only replica"),
        ({"encoding": "SQL_ASCII"}, "make one in UTF8"),
    ):
        assert words in database_complaint(replace(good, **change))


async def test_a_database_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(external, "WAIT_S", 0.3)
    monkeypatch.setattr(external, "PAUSE_S", 0.01)
    told = []
    address = f"postgresql://portal:sesame@127.0.0.1:{free_ports(1)[0]}/portal"
    with pytest.raises(ExternalServiceError, match=r"does not serve.*tried for 0\.3 s"):
        await database_ready(address, tell=told.append, warn=told.append)
    assert len(told) == 1


async def test_a_valkey_that_comes_late_is_waited_for(tmp_path):
    config = ValkeyConfig(
        data=tmp_path / "valkey", port=free_ports(1)[0], password="hush", is_durable=False
    )
    started = []

    def start(_text):
        server = valkey_server(config)
        server.__enter__()
        started.append(server)

    try:
        await valkey_ready(config.url, tell=start, warn=pytest.fail)
    finally:
        for server in started:
            server.__exit__(None, None, None)
    assert len(started) == 1


async def test_a_valkey_that_refuses_is_told_at_once(valkey):
    for password in ("sesame", ""):
        address = valkey.url.replace("hush", password)
        with pytest.raises(ExternalServiceError, match="VALKEY_URL is refused") as refused:
            await valkey_ready(address, tell=pytest.fail, warn=pytest.fail)
        assert "sesame" not in str(refused.value)


async def test_a_valkey_that_may_forget_is_warned_of(valkey):
    server = redis.Redis.from_url(valkey.url)
    server.config_set("maxmemory-policy", "allkeys-lru")
    warnings = []
    try:
        await valkey_ready(valkey.url, tell=pytest.fail, warn=warnings.append)
    finally:
        server.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in warnings[0]
