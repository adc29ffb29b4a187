import re

import pytest
from django.core import mail, signing

from portal.accounts.models import User
from tests.portal.letters import link_in

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


def post(client, email, **more):
    with_hooks = {"email": email, "password": PASSWORD, **more}
    return client.post("/signup/", with_hooks)


def shown(answer):
    return re.sub(r'content="[A-Za-z0-9]{64}"', "", answer.content.decode())


def test_sign_up_confirm_and_sign_in(client, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        assert post(client, "New@Example.com").status_code == 200
    assert (
        client.post("/login/", {"email": "new@example.com", "password": PASSWORD}).status_code
        == 422
    )
    link = re.search(r"http://testserver(\S+)", mail.outbox[0].body)[1]
    assert client.get(link).status_code == 200
    assert User.objects.get(email="new@example.com").email_confirmed_at is None
    assert client.post(link).status_code == 302
    answer = client.post("/login/", {"email": "new@example.com", "password": PASSWORD})
    assert answer.status_code == 302


def test_a_known_address_gets_the_same_answer_and_a_mail_that_says_so(
    client, alice, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        unknown = post(client, "nobody@example.com")
    with django_capture_on_commit_callbacks(execute=True):
        known = post(client, "alice@example.com")
    assert shown(unknown).replace("nobody@", "alice@") == shown(known)
    assert "already have an account" in mail.outbox[-1].subject


@pytest.mark.parametrize("password", ["short", "1234567890", "password123", "someone@example.com"])
def test_weak_passwords_are_refused(client, password):
    assert post(client, "someone@example.com", password=password).status_code == 422


def test_sign_in_is_locked_after_failures(client, alice):
    for _ in range(8):
        client.post("/login/", {"email": alice.email, "password": "wrong wrong wrong"})
    answer = client.post("/login/", {"email": alice.email, "password": "a long enough password"})
    assert answer.status_code == 429


def confirm_link(letters, client, password):
    with letters.expected() as sent:
        client.post("/signup/", {"email": "dora@example.com", "password": password})
    (message,) = sent
    return link_in(message)


def test_a_password_that_a_stranger_chose_for_an_address_does_not_survive_its_owner(
    client, letters
):
    strangers = confirm_link(letters, client, "chosen by a stranger")
    owners = confirm_link(letters, client, PASSWORD)
    assert client.post(strangers).status_code == 400
    assert client.post(owners).status_code == 302
    form = {"email": "dora@example.com", "password": "chosen by a stranger"}
    assert client.post("/login/", form).status_code == 422
    assert client.post("/login/", {**form, "password": PASSWORD}).status_code == 302


def test_signing_up_again_changes_nothing_of_a_confirmed_account(client, alice, letters):
    with letters.expected():
        client.post("/signup/", {"email": alice.email, "password": PASSWORD, "name": "Mallory"})
    again = User.objects.get(pk=alice.pk)
    assert (again.name, again.password) == (alice.name, alice.password)


def test_a_confirmation_link_grows_old(client, letters, monkeypatch):
    link = confirm_link(letters, client, PASSWORD)
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 3 * 86400 + 60)
    answer = client.post(link)
    assert answer.status_code == 400
    assert "does not work any more" in answer.content.decode()
