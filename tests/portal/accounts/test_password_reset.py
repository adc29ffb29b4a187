"""A forgotten password: nothing is revealed, links work once, and every browser is signed out."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.test import Client

from tests.conftest import PASSWORD
from tests.portal.letters import link_in

pytestmark = pytest.mark.django_db
NEW = "violet harbour lantern 7"


@pytest.fixture
def link(alice, letters) -> str:
    """The link that Alice asked for."""
    return asked(letters, "Alice@Example.com")


def asked(letters, email: str) -> str:
    with letters.expected() as sent:
        Client().post("/password/reset/", {"email": email})
    (message,) = sent
    assert message.to == [email.lower()]
    return link_in(message)


def sign_in(client: Client, email: str, password: str):
    return client.post("/login/", {"email": email, "password": password})


def shown(answer, email: str) -> str:
    text = re.sub(r'content="[A-Za-z0-9]{64}"', "", answer.content.decode())
    return text.replace(email, "ADDRESS")


def test_the_answer_does_not_tell_whether_there_is_an_account(alice, letters):
    with letters.expected() as sent:
        known = Client().post("/password/reset/", {"email": "alice@example.com"})
        unknown = Client().post("/password/reset/", {"email": "nobody@example.com"})
    assert known.status_code == unknown.status_code == 200
    assert shown(known, "alice@example.com") == shown(unknown, "nobody@example.com")
    assert [message.to for message in sent] == [["alice@example.com"]]


def test_asking_too_often_is_refused_alike(alice, letters):
    answers = {}
    for email in ("alice@example.com", "nobody@example.com"):
        with letters.expected():
            answers[email] = [
                Client().post("/password/reset/", {"email": email}).status_code for _ in range(6)
            ]
    assert answers["alice@example.com"] == answers["nobody@example.com"]
    assert answers["alice@example.com"][-1] == 429


def test_the_new_password_works_and_the_old_one_does_not(link, alice):
    client = Client()
    assert client.get(link).status_code == 200
    assert client.post(link, {"password": NEW})["Location"] == "/login/"
    assert sign_in(Client(), alice.email, PASSWORD).status_code == 422
    assert sign_in(client, alice.email, NEW).status_code == 302


def test_a_link_works_once(link):
    assert Client().post(link, {"password": NEW}).status_code == 302
    for answer in (Client().get(link), Client().post(link, {"password": "another one entirely"})):
        assert answer.status_code == 400
        assert "does not work any more" in answer.content.decode()


def test_a_link_works_for_an_hour(link, monkeypatch):
    # Django's generator reckons in naive local time.
    late = default_token_generator._now() + timedelta(hours=1, minutes=1)
    monkeypatch.setattr(default_token_generator, "_now", lambda: late)
    assert Client().post(link, {"password": NEW}).status_code == 400


def test_a_link_opens_nobody_elses_account(link, bob):
    hers = link.split("/")[3]
    assert Client().post(link.replace(hers, bob.pk.hex), {"password": NEW}).status_code == 400
    assert Client().get(link.replace(hers, "nonsense")).status_code == 400
    assert sign_in(Client(), bob.email, PASSWORD).status_code == 302


def test_a_weak_password_is_refused_and_the_link_stays_good(link):
    refused = Client().post(link, {"password": "password123"})
    assert refused.status_code == 422
    assert "too common" in refused.content.decode()
    assert Client().post(link, {"password": NEW}).status_code == 302


def test_setting_it_ends_every_session(alice, acme, letters):
    laptop, phone = Client(), Client()
    for browser in (laptop, phone):
        sign_in(browser, alice.email, PASSWORD)
        assert browser.get("/o/acme/").status_code == 200
    answer = laptop.post(asked(letters, alice.email), {"password": NEW}, follow=True)
    assert answer.redirect_chain == [("/login/", 302)]
    assert "The new password is set." in answer.content.decode()
    for browser in (laptop, phone):
        assert browser.get("/o/acme/")["Location"].startswith("/login/")


def test_setting_it_ends_a_lockout_by_failed_attempts(link, alice):
    for _ in range(9):
        locked = sign_in(Client(), alice.email, "wrong wrong wrong")
    assert locked.status_code == 429
    Client().post(link, {"password": NEW})
    assert sign_in(Client(), alice.email, NEW).status_code == 302


def test_a_new_link_is_no_way_around_an_unconfirmed_address(letters):
    with letters.expected():
        Client().post("/signup/", {"email": "dora@example.com", "password": NEW})
    link = asked(letters, "dora@example.com")
    assert link.startswith("/signup/confirm/")
