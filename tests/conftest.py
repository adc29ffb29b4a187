"""Fixtures of all tests: real Postgres and Valkey, ready organizations, people with roles.

Every test with the database starts with Alice (owner) and Bob (developer) in Acme, Charlie
(owner) in Globex and Olga of the operating staff; they are made once and copied.
"""

import os
from pathlib import Path

import django
import pytest
from hypothesis import HealthCheck, settings

from dataplane.client import local
from tests.services import Services, postgres_start, services_announce, valkey_start

PASSWORD = "a long enough password"
SERVICES = pytest.StashKey[Services]()

# How fast a machine draws examples is no property of the code.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

# Before any conftest further down imports a model.
_services = services_announce()


_WITHOUT_SERVICES = frozenset(
    {"clients", "dataplane", "simulation", "transcripts", "processes", "linearizability"}
)


def _needs_services(config: pytest.Config) -> bool:
    """Tell whether more than the data plane's own tests was asked for."""
    roots = [Path(str(argument).partition("::")[0]).parts for argument in config.args]
    return not all(_WITHOUT_SERVICES.intersection(parts) for parts in roots)


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write golden files again instead of comparing with them",
    )


def _ports_divide() -> None:
    """Keep the nodes of parallel workers apart: a port that is free for now is often a dead node's.

    One worker would take it while another's node is down, or not up yet.
    """
    name, count = (os.environ.get(f"PYTEST_XDIST_WORKER{part}") for part in ("", "_COUNT"))
    if name is not None:
        local.PORTS = local.PORTS[int(name.removeprefix("gw")) :: int(count)]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVICES] = _services
    _ports_divide()
    if not _needs_services(config):
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        return
    if _is_controller(config):
        postgres_start(_services)
    is_distributing = bool(config.getoption("numprocesses", None))
    if not (_is_controller(config) and is_distributing):
        valkey_start(_services)
    django.setup()
    if is_distributing:
        # Workers inherit the environment; named there, the settings would be read before a worker
        # has announced its own Valkey and home.
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    _never_flush()


def pytest_unconfigure(config: pytest.Config) -> None:
    services = config.stash.get(SERVICES, None)
    if services is not None:
        services.stop()


def _never_flush() -> None:
    """Give tests that commit a fresh copy of the database instead of emptied tables."""
    from django.test import TransactionTestCase

    def renew(self: TransactionTestCase) -> None:
        database_renew(_services)

    TransactionTestCase._fixture_teardown = renew


def database_renew(services: Services) -> None:
    """Replace this worker's database by a fresh copy of the template."""
    from django.core.cache import cache
    from django.db import connections

    connections.close_all()
    with services.locked("template"):
        services.database_create(services.database, template="aerolith_template")
    cache.clear()
    _public()


def _public() -> None:
    from django.db import connection

    connection.set_schema_to_public()


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Services:
    """The addresses of the session's real servers."""
    return request.config.stash[SERVICES]


@pytest.fixture(scope="session")
def django_db_setup(services: Services, django_db_blocker: object) -> None:
    """Migrate one template for the whole session, then copy it for this worker."""
    from django.db import connections

    with django_db_blocker.unblock():
        with services.locked("template"):
            done = services.base / "template.done"
            if not done.exists():
                _template_create(services)
                done.touch()
            services.database_create(services.database, template="aerolith_template")
        connections["default"].settings_dict["NAME"] = services.database
        connections["default"].close()


def _template_create(services: Services) -> None:
    from django.core.management import call_command
    from django.db import connections

    services.database_create("aerolith_template")
    connection = connections["default"]
    connection.settings_dict["NAME"] = "aerolith_template"
    connection.close()
    call_command("migrate_schemas", shared=True, interactive=False, verbosity=0)
    _people_create()
    connection.close()


def _people_create() -> None:
    from django.contrib.auth import get_user_model

    from portal.core import clock
    from portal.organizations.models import Membership, Role
    from portal.organizations.services import organization_create

    people = {}
    for name in ("alice", "bob", "charlie", "olga"):
        people[name] = get_user_model().objects.create_user(
            email=f"{name}@example.com",
            password=PASSWORD,
            name=name.capitalize(),
            email_confirmed_at=clock.now(),
            is_staff=name == "olga",
            is_superuser=name == "olga",
        )
    acme = organization_create(owner=people["alice"], name="Acme", slug="acme")
    organization_create(owner=people["charlie"], name="Globex", slug="globex")
    Membership.objects.create(
        user=people["bob"], organization=acme, role=Role.DEVELOPER, created_at=clock.now()
    )


@pytest.fixture(autouse=True)
def _leave_tenant(request: pytest.FixtureRequest):
    """Start and end every test with the database in the public schema, with an empty cache."""
    if not {"db", "transactional_db"} & set(request.fixturenames):
        yield
        return
    from django.core.cache import cache

    cache.clear()
    _public()
    yield
    _public()


def _person(name: str):
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get(email=f"{name}@example.com")


@pytest.fixture
def alice(db):
    """Owner of Acme."""
    return _person("alice")


@pytest.fixture
def bob(db):
    """Developer in Acme."""
    return _person("bob")


@pytest.fixture
def charlie(db):
    """Owner of Globex: a stranger to Acme."""
    return _person("charlie")


@pytest.fixture
def olga(db):
    """Operating staff."""
    return _person("olga")


def _organization(slug: str):
    from portal.organizations.models import Organization

    return Organization.objects.get(slug=slug)


@pytest.fixture
def acme(db):
    """The organization of Alice and Bob."""
    return _organization("acme")


@pytest.fixture
def globex(db):
    """Charlie's organization."""
    return _organization("globex")


@pytest.fixture
def in_acme(acme):
    """Run the test inside Acme's schema and role."""
    from portal.core.tenancy import tenant_context

    with tenant_context(acme.schema_name):
        yield acme


@pytest.fixture
def client_for(db):
    """Return a function that gives a signed-in test client of a user.

    As by the pages it is a moment ago, so that nothing asks who it is once more.
    """
    from django.conf import settings
    from django.test import Client

    from portal.core import clock
    from portal.identity.stepup import CONFIRMED_KEY

    def make(user, *, is_recent: bool = True, **options) -> Client:
        client = Client(**options)
        client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
        if is_recent:
            session = client.session
            session[CONFIRMED_KEY] = clock.now().timestamp()
            session.save()
        return client

    return make


@pytest.fixture(scope="session")
def supervisor(services: Services):
    """A running supervisor without the portal's own children; its client."""
    from portal.core.supervision import SupervisorClient
    from tests.supervisors import bare_supervisor

    home = Path(os.environ["AEROLITH_HOME"])
    with bare_supervisor(home):
        yield SupervisorClient(home)
