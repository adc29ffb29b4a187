import re

import pytest
from django.core import mail

from portal.accounts.models import User

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
