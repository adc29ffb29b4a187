"""Pages of the shell: landing, dashboard, errors, icons."""

import re
from pathlib import Path

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[3]


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user, backend="portal.accounts.backends.EmailBackend")
    return client


def test_anybody_sees_the_landing_page_and_signed_in_people_their_way_in(alice):
    assert b"Sign up" in Client().get("/").content
    assert b"Open the console" in signed_in(alice).get("/").content


def test_an_empty_dashboard_says_what_to_do_first(alice, acme):
    page = signed_in(alice).get("/o/acme/")
    assert page.status_code == 200
    assert b"Create a cluster" in page.content


def test_a_stranger_is_told_that_there_is_nothing(charlie, acme):
    page = signed_in(charlie).get("/o/acme/")
    assert page.status_code == 404
    assert b"acme" not in page.content.lower().replace(b"/o/acme/", b"")


def test_someone_signed_out_is_sent_to_the_login(acme):
    page = Client().get("/o/acme/")
    assert page.status_code == 302
    assert page["Location"].startswith("/login/")


def test_every_icon_that_a_template_names_is_in_the_sprite():
    sprite = (ROOT / "static/vendor/tabler-icons/sprite.svg").read_text()
    known = set(re.findall(r'id="([a-z0-9-]+)"', sprite))
    used = set()
    for template in (ROOT / "templates").rglob("*.html"):
        used |= set(re.findall(r'{% icon "([a-z0-9-]+)"', template.read_text()))
    assert used
    missing = {name for name in used if name not in known and f"icon-{name}" not in known}
    assert missing == set()
