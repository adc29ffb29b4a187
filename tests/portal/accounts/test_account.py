"""One's own account: name, e-mail, password, browsers and tokens."""

import re

import pytest
from django.core import signing
from django.test import Client

from portal.accounts.models import AccessToken, User
from tests.conftest import PASSWORD
from tests.portal.letters import link_in

pytestmark = pytest.mark.django_db
NEW = "violet harbour lantern 7"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def browser(alice):
    """Alice's browser, signed in by the form."""
    return signed_in(alice.email)


def signed_in(email: str, password: str = PASSWORD, agent: str = FIREFOX) -> Client:
    client = Client(headers={"User-Agent": agent})
    assert client.post("/login/", {"email": email, "password": password}).status_code == 302
    return client


def text_of(answer) -> str:
    return answer.content.decode()


@pytest.mark.parametrize("tab", ["", "email/", "password/", "sessions/", "tokens/"])
def test_the_account_belongs_to_who_is_signed_in(browser, tab):
    assert browser.get(f"/account/{tab}").status_code == 200
    assert Client().get(f"/account/{tab}")["Location"] == f"/login/?next=/account/{tab}"


def test_a_name_is_changed_and_shown_to_the_team(browser, client_for, bob, acme):
    answer = browser.post("/account/", {"name": "  Alice   <b>Liddell</b> "}, follow=True)
    assert "Saved." in text_of(answer)
    team = text_of(client_for(bob).get("/o/acme/team/"))
    assert "Alice &lt;b&gt;Liddell&lt;/b&gt;" in team


def test_a_password_is_changed_by_who_knows_the_present_one(browser, alice):
    wrong = browser.post("/account/password/", {"current": "not mine at all", "password": NEW})
    assert "This is not your present password." in text_of(wrong)
    weak = browser.post("/account/password/", {"current": PASSWORD, "password": "1234567890"})
    assert "is-invalid" in text_of(weak)
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    browser.post("/account/password/", {"current": PASSWORD, "password": NEW})
    alice.refresh_from_db()
    assert alice.check_password(NEW)


def test_changing_the_password_signs_out_every_other_browser(browser, alice):
    other = signed_in(alice.email)
    browser.post("/account/password/", {"current": PASSWORD, "password": NEW})
    assert browser.get("/account/").status_code == 200
    assert other.get("/account/").status_code == 302


def test_a_browser_is_recognised_and_signed_out_from_another(browser, alice):
    other = signed_in(alice.email, agent="curl/8.0")
    page = text_of(browser.get("/account/sessions/"))
    assert "Firefox on Linux" in page
    assert "curl/8.0" in page
    assert page.count("This browser") == 1
    assert other.session.session_key not in page
    (digest,) = re.findall(r'name="session" value="(\w+)"', page)
    answer = browser.post("/account/sessions/", {"session": digest}, follow=True)
    assert "That browser is signed out." in text_of(answer)
    assert other.get("/account/").status_code == 302
    assert browser.get("/account/").status_code == 200


def test_nobody_ends_a_session_of_somebody_else(browser, charlie):
    stranger = signed_in(charlie.email)
    signed_in(charlie.email, agent="curl/8.0")
    page = text_of(stranger.get("/account/sessions/"))
    digest = re.findall(r'name="session" value="(\w+)"', page)[0]
    assert browser.post("/account/sessions/", {"session": digest}).status_code == 404
    assert stranger.get("/account/").status_code == 200


def test_every_other_browser_is_signed_out_at_once_and_nobody_elses(browser, alice, charlie):
    assert "Sign out everywhere else" not in text_of(browser.get("/account/sessions/"))
    others = [signed_in(alice.email, agent=agent) for agent in ("curl/8.0", "curl/8.1")]
    stranger = signed_in(charlie.email)
    assert "Sign out everywhere else" in text_of(browser.get("/account/sessions/"))
    answer = browser.post("/account/sessions/", {"others": "1"}, follow=True)
    assert "Signed out elsewhere: 2." in text_of(answer)
    assert [other.get("/account/").status_code for other in others] == [302, 302]
    assert browser.get("/account/").status_code == 200
    assert stranger.get("/account/").status_code == 200


def ask_for(browser, letters, email: str, password: str = PASSWORD):
    with letters.expected() as sent:
        answer = browser.post("/account/email/", {"email": email, "current": password})
    return answer, sent


def test_an_address_changes_when_its_link_is_followed_and_the_old_one_is_told(
    browser, alice, letters
):
    answer, (message,) = ask_for(browser, letters, "Alice@New.example")
    assert answer.status_code == 302
    assert message.to == ["alice@new.example"]
    assert signed_in("alice@example.com")
    link = link_in(message)
    assert Client().get(link).status_code == 200
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
    with letters.expected() as sent:
        done = browser.post(link, follow=True)
    assert "From now on you sign in as alice@new.example." in text_of(done)
    assert [told.to for told in sent] == [["alice@example.com"]]
    assert signed_in("alice@new.example")
    old = {"email": "alice@example.com", "password": PASSWORD}
    assert Client().post("/login/", old).status_code == 422


def test_a_link_for_another_address_works_once_and_not_after_other_changes(browser, alice, letters):
    _, (first,) = ask_for(browser, letters, "one@new.example")
    _, (second,) = ask_for(browser, letters, "two@new.example")
    with letters.expected():
        assert browser.post(link_in(first)).status_code == 302
    for used in (first, second):
        assert browser.post(link_in(used)).status_code == 400
    _, (back,) = ask_for(browser, letters, "alice@example.com")
    with letters.expected():
        assert browser.post(link_in(back)).status_code == 302
    assert browser.post(link_in(first)).status_code == 400
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"


def test_a_link_for_another_address_grows_old(browser, letters, monkeypatch):
    _, (message,) = ask_for(browser, letters, "alice@new.example")
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 3 * 86400 + 60)
    assert browser.post(link_in(message)).status_code == 400


def test_an_address_is_changed_by_who_knows_the_password(browser, letters):
    answer, sent = ask_for(browser, letters, "alice@new.example", "not mine at all")
    assert "This is not your present password." in text_of(answer)
    assert sent == []


def test_asking_for_a_taken_address_tells_only_its_owner(browser, bob, letters):
    free, _ = ask_for(browser, letters, "alice@new.example")
    free_page = text_of(browser.get("/account/email/"))
    taken, (message,) = ask_for(browser, letters, "bob@example.com")
    taken_page = text_of(browser.get("/account/email/"))
    assert free.status_code == taken.status_code == 302
    assert "sent to alice@new.example" in free_page
    assert "sent to bob@example.com" in taken_page
    assert message.to == ["bob@example.com"]
    assert "already have an account" in message.subject
    assert "http://testserver/account/email" not in message.body


def test_an_address_that_was_taken_meanwhile_is_not_given_twice(browser, alice, letters):
    _, (message,) = ask_for(browser, letters, "alice@new.example")
    User.objects.create_user("alice@new.example", NEW)
    assert browser.post(link_in(message)).status_code == 400
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"


def test_a_token_is_shown_once_works_and_ends_with_its_revocation(browser, alice, acme):
    page = text_of(browser.post("/account/tokens/", {"name": "Nightly", "days": "30"}))
    (secret,) = re.findall(r'<code id="secret">(aer_\w+)</code>', page)
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    assert program.get("/api/v1/me").json()["email"] == alice.email
    later = text_of(browser.get("/account/tokens/"))
    assert secret not in later
    assert "Nightly" in later
    key = AccessToken.objects.get(name="Nightly").pk
    answer = browser.post(f"/account/tokens/{key}/revoke/", follow=True)
    assert "The token is revoked." in text_of(answer)
    assert "Nightly" not in text_of(browser.get("/account/tokens/"))
    assert program.get("/api/v1/me").status_code == 401


def test_nobody_revokes_a_token_of_somebody_else(browser, charlie):
    browser.post("/account/tokens/", {"name": "Nightly", "days": "0"})
    token = AccessToken.objects.get(name="Nightly")
    assert token.expires_at is None
    stranger = signed_in(charlie.email)
    assert stranger.post(f"/account/tokens/{token.pk}/revoke/").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_a_token_without_a_name_is_refused_in_words(browser):
    answer = browser.post("/account/tokens/", {"name": "  ", "days": "30"})
    assert answer.status_code == 422
    assert "This field is required." in text_of(answer)
    assert not AccessToken.objects.exists()
