"""What people and programs are told while the portal's own services are away."""

import pytest
from django.core.cache import caches
from django.db import connection
from django.db.utils import OperationalError
from django.test import Client

from portal.accounts.services import token_create
from portal.commands.ports import free_ports
from portal.core.http import is_outage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser(alice, acme) -> Client:
    made = Client(raise_request_exception=False)
    made.force_login(alice, backend="portal.accounts.backends.EmailBackend")
    return made


@pytest.fixture
def api(alice, acme) -> Client:
    _, secret = token_create(user=alice, name="test")
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def without_database(browser, api):
    """Let the portal look for its database where there is none."""
    connection.close()
    before = connection.settings_dict["PORT"]
    (connection.settings_dict["PORT"],) = free_ports(1)
    yield
    connection.close()
    connection.settings_dict["PORT"] = before


def test_a_page_says_what_is_wrong_and_tries_again_by_itself(browser, without_database):
    answer = browser.get("/o/acme/")
    page = answer.content.decode()
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert "database or cache does not answer" in page
    assert 'http-equiv="refresh" content="5"' in page
    assert "Traceback" not in page


def test_a_click_is_not_repeated_by_itself(browser, without_database):
    page = browser.post("/organizations/new/", {"name": "Lost"}).content.decode()
    assert "Whether your last click was carried out is not known" in page
    assert "http-equiv" not in page


def test_a_program_gets_a_code_and_a_time_to_wait(api, without_database):
    answer = api.get("/api/v1/me")
    assert answer.status_code == 503
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.json()["code"] == "unavailable"
    assert answer["Retry-After"] == "5"


def test_the_portal_is_back_with_its_database(browser, api, without_database, request):
    assert browser.get("/o/acme/").status_code == 503
    connection.close()
    connection.settings_dict["PORT"] = request.getfixturevalue("services").postgres.port
    assert browser.get("/o/acme/").status_code == 200
    assert api.get("/api/v1/me").status_code == 200


def test_a_cache_that_is_away_is_an_outage_too(client, alice, settings, monkeypatch):
    (port,) = free_ports(1)
    cache = settings.CACHES["default"] | {"LOCATION": f"redis://127.0.0.1:{port}/0"}
    monkeypatch.setitem(caches.settings, "default", cache)
    monkeypatch.delattr(caches._connections, "default", raising=False)
    client.raise_request_exception = False
    answer = client.post("/login/", {"email": alice.email, "password": "whatever it is"})
    monkeypatch.undo()
    assert answer.status_code == 503


def test_a_fault_of_ours_is_no_outage():
    class DeadlockError(Exception):
        sqlstate = "40P01"

    fault = OperationalError("deadlock detected")
    fault.__cause__ = DeadlockError()
    assert not is_outage(fault)
    assert not is_outage(ValueError("of ours"))
    assert is_outage(OperationalError("connection refused"))
