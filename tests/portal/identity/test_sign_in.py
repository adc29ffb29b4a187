"""Signing in with a second factor: what is asked, what opens before it, and what guessing meets."""

from datetime import timedelta

import pytest
from django.test import Client

from portal.accounts.models import UserSession
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.identity.constants import PENDING_FOR, TRIES
from portal.identity.services import recovery_renew
from tests.conftest import PASSWORD
from tests.portal.identity.people import app_of, code_of, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(alice):
    return app_of(alice)


def factor(client: Client, code: str):
    return client.post("/login/factor/", {"code": code})


def test_without_a_second_factor_the_password_is_enough(client, bob):
    assert sign_in(client, bob)["Location"] == "/organizations/"
    assert client.get("/account/").status_code == 200


def test_with_one_the_password_opens_nothing_yet(client, alice, device):
    assert sign_in(client, alice)["Location"] == "/login/factor/"
    for path in ("/account/", "/account/security/totp/", "/o/acme/", "/operators/"):
        assert client.get(path).status_code == 302, path
        assert "login" in client.get(path)["Location"], path
    assert client.get("/api/v1/me").status_code == 401
    assert client.get("/api/v1/orgs/acme/members").status_code == 401
    assert client.get("/login/enrol/")["Location"] == "/login/"
    assert not UserSession.objects.filter(user_id=alice.pk).exists()


def test_the_code_completes_it_and_leads_to_where_one_was_going(client, alice, device):
    sign_in(client, alice, next="/o/acme/team/")
    before = client.session.session_key
    assert factor(client, code_of(device))["Location"] == "/o/acme/team/"
    assert client.session.session_key != before
    assert client.session["factors"] == ["password", "totp"]
    assert client.get("/o/acme/team/").status_code == 200
    assert "by password and code of an app" in client.get("/account/sessions/").content.decode()


def test_a_code_works_once_in_any_browser(client, alice, device):
    code = code_of(device)
    sign_in(client, alice)
    assert factor(client, code).status_code == 302
    other = Client()
    sign_in(other, alice)
    answer = factor(other, code)
    assert answer.status_code == 422
    assert "was used before" in answer.content.decode()
    with clock.frozen(clock.now() + timedelta(seconds=30)):
        assert factor(other, code_of(device)).status_code == 302


@pytest.mark.parametrize(
    ("off_s", "is_right"), [(-90, False), (-30, True), (30, True), (90, False)]
)
def test_a_clock_that_is_one_step_off_is_borne(client, alice, device, off_s, is_right):
    now = clock.now() + timedelta(minutes=5)
    with clock.frozen(now):
        sign_in(client, alice)
        answer = factor(client, code_of(device, now + timedelta(seconds=off_s)))
    assert (answer.status_code == 302) is is_right


def test_an_app_that_drifts_step_by_step_is_followed(client, alice, device):
    for minutes, off_s in ((5, 30), (10, 60), (15, 90)):
        now = clock.now() + timedelta(minutes=minutes)
        with clock.frozen(now):
            browser = Client()
            sign_in(browser, alice)
            code = code_of(device, now + timedelta(seconds=off_s))
            assert factor(browser, code).status_code == 302


def test_guessing_is_stopped_and_the_right_code_then_waits_too(client, alice, device):
    sign_in(client, alice)
    answers = [factor(client, f"{guess:06}") for guess in range(TRIES)]
    wrong = [answer for answer in answers if answer.status_code == 422]
    assert len(wrong) >= TRIES - 1
    answer = factor(client, code_of(device))
    assert answer.status_code == 422
    assert "Too many" in answer.content.decode()


def test_one_who_is_on_the_way_in_has_ten_minutes(client, alice, device):
    sign_in(client, alice)
    with clock.frozen(clock.now() + PENDING_FOR + timedelta(seconds=1)):
        assert factor(client, code_of(device, clock.now()))["Location"] == "/login/"


@pytest.mark.parametrize("change", ["password", "active"])
def test_a_new_password_or_a_switched_off_account_ends_the_way_in(client, alice, device, change):
    sign_in(client, alice)
    if change == "password":
        alice.set_password("violet harbour lantern 7")
    else:
        alice.is_active = False
    alice.save()
    assert factor(client, code_of(device))["Location"] == "/login/"
    assert client.get("/account/").status_code == 302


def test_a_code_of_somebody_else_does_not_help(client, alice, bob, device):
    others = app_of(bob)
    sign_in(client, alice)
    assert factor(client, code_of(others)).status_code == 422


def test_a_recovery_code_stands_in_once_and_is_told(client, alice, device, letters):
    codes = recovery_renew(alice)
    sign_in(client, alice)
    # As people type it: in capitals, without hyphens, with an O for the zero.
    typed = codes[0].replace("-", " ").upper().replace("0", "O")
    with letters.expected() as sent:
        assert factor(client, typed).status_code == 302
    assert "A recovery code of your account was used" in sent[0].subject
    assert "9 of them are left" in sent[0].body
    other = Client()
    sign_in(other, alice)
    assert factor(other, codes[0]).status_code == 422
    assert factor(other, codes[1]).status_code == 302


def test_a_reset_password_does_not_skip_the_factor(client, alice, device, letters):
    from tests.portal.letters import link_in

    with letters.expected() as sent:
        client.post("/password/reset/", {"email": alice.email})
    client.post(link_in(sent[0]), {"password": "violet harbour lantern 7"})
    answer = client.post("/login/", {"email": alice.email, "password": "violet harbour lantern 7"})
    assert answer["Location"] == "/login/factor/"


def test_wrong_passwords_still_lock_whoever_has_a_factor(client, alice, device):
    for _ in range(8):
        client.post("/login/", {"email": alice.email, "password": "not mine at all"})
    assert sign_in(client, alice).status_code == 429


def test_operators_must_set_one_up_before_they_are_let_in(client, olga):
    assert sign_in(client, olga, next="/operators/")["Location"] == "/login/enrol/"
    assert client.get("/operators/").status_code == 302
    page = client.get("/login/enrol/").content.decode()
    assert "data:image/svg+xml" in page
    from portal.identity.selectors import totp_begun

    begun = totp_begun(olga)
    answer = client.post("/login/enrol/", {"code": code_of(begun), "name": ""})
    assert answer.status_code == 200
    text = answer.content.decode()
    assert "Recovery codes" in text
    assert 'href="/operators/"' in text
    assert client.get("/operators/").status_code == 200


def test_the_trail_of_every_organization_tells_of_it(alice, acme, device):
    from portal.audit.models import AuditEvent

    with tenant_context(acme.schema_name):
        event = AuditEvent.objects.get(action="member.factor_added")
    assert event.target_label == alice.email
    assert event.after == {"factor": "Authenticator app", "name": "Phone"}


def test_the_session_key_changes_when_one_is_on_the_way_in(client, alice, device):
    client.get("/login/")
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    sign_in(client, alice)
    assert client.session.session_key != planted
    assert not UserSession.objects.filter(session_key=planted).exists()
    assert PASSWORD not in str(dict(client.session))
