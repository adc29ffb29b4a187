"""An organization that asks for a second factor: who is let in, and who may ask."""

import pytest
from django.test import Client

from portal.accounts.services import token_create
from portal.audit.models import AuditEvent
from portal.core.tenancy import tenant_context
from portal.identity.selectors import factors_of, totp_begun
from portal.identity.services import recovery_renew
from portal.organizations.models import Organization
from tests.portal.identity.people import app_of, code_of, sign_in

pytestmark = pytest.mark.django_db

API = "/api/v1/orgs/acme/security-policy"
PAGE = "/o/acme/security/"
JSON = {"content_type": "application/json"}


@pytest.fixture
def strict(acme):
    """Acme, which asks for a second factor."""
    return policy(mfa_required=True, factors=["totp", "passkey"])


def policy(**wanted) -> Organization:
    Organization.objects.filter(slug="acme").update(security=wanted)
    return Organization.objects.get(slug="acme")


def signed_in(user, device=None) -> Client:
    client = Client()
    sign_in(client, user)
    if device is not None:
        client.post("/login/factor/", {"code": code_of(device)})
    return client


def test_who_has_none_is_led_to_setting_one_up_and_then_in(bob, strict):
    browser = signed_in(bob)
    answer = browser.get("/o/acme/", follow=True)
    assert answer.redirect_chain == [("/account/security/", 302)]
    assert "This organization asks for a second factor" in answer.content.decode()
    api = browser.get("/api/v1/orgs/acme/members")
    assert (api.status_code, api.json()["code"]) == (403, "mfa_enrolment_required")
    browser.get("/account/security/totp/")
    browser.post("/account/security/totp/", {"code": code_of(totp_begun(bob)), "name": ""})
    assert browser.get("/o/acme/").status_code == 200


def test_who_has_one_and_did_not_show_it_is_asked_and_led_back(client_for, bob, strict):
    device = app_of(bob)
    browser = client_for(bob)
    answer = browser.get("/o/acme/team/?a=1")
    assert answer["Location"] == "/account/confirm/?next=%2Fo%2Facme%2Fteam%2F%3Fa%3D1"
    assert browser.get("/api/v1/orgs/acme/members").json()["code"] == "mfa_required"
    done = browser.post("/account/confirm/", {"code": code_of(device), "next": "/o/acme/team/"})
    assert done["Location"] == "/o/acme/team/"
    assert browser.get("/o/acme/team/").status_code == 200


def test_a_recovery_code_lets_in_who_lost_the_factor(bob, strict):
    app_of(bob)
    code = recovery_renew(bob)[0]
    browser = Client()
    sign_in(browser, bob)
    browser.post("/login/factor/", {"code": code})
    assert browser.get("/o/acme/").status_code == 200


def test_one_organization_does_not_bind_the_pages_of_another(client_for, charlie, strict):
    assert client_for(charlie).get("/o/globex/").status_code == 200


def test_a_kind_that_does_not_count_does_not_let_in(bob):
    policy(mfa_required=True, factors=["passkey"])
    browser = signed_in(bob, app_of(bob))
    answer = browser.get("/o/acme/")
    assert answer["Location"] == "/account/security/"


def test_tokens_go_on(bob, strict):
    _, secret = token_create(user=bob, name="t")
    headers = {"Authorization": f"Bearer {secret}"}
    assert Client().get("/api/v1/orgs/acme/members", headers=headers).status_code == 200


def test_no_token_is_made_round_it(bob, strict):
    browser = signed_in(bob)
    form = {"name": "Round it", "days": "30"}
    answer = browser.post("/account/tokens/", form, follow=True)
    assert answer.redirect_chain == [("/account/security/", 302)]
    assert "asks for a second factor" in answer.content.decode()
    assert not bob.access_tokens.exists()
    inside = signed_in(bob, app_of(bob))
    assert "aer_" in inside.post("/account/tokens/", form).content.decode()


def test_the_live_channel_asks_the_same(bob, strict):
    from portal.access.live import _access

    device = app_of(bob)
    for browser, may in ((signed_in(bob, device), True), (Client(), False)):
        cookie = browser.cookies.output(attrs=[], header="", sep=";").strip().encode()
        assert (_access({b"cookie": cookie}, "acme") is not None) is may
    client = signed_in(bob)
    session = client.session
    session["factors"] = ["password"]
    session["_auth_user_id"] = str(bob.pk)
    session["_auth_user_backend"] = "portal.accounts.backends.EmailBackend"
    session["_auth_user_hash"] = bob.get_session_auth_hash()
    session.save()
    cookie = client.cookies.output(attrs=[], header="", sep=";").strip().encode()
    assert _access({b"cookie": cookie}, "acme") is None
    policy()
    assert _access({b"cookie": cookie}, "acme") is not None


def test_an_owner_sees_who_would_be_without_and_sets_it(alice, bob, acme):
    browser = signed_in(alice, app_of(alice))
    shown = browser.post(PAGE, {"mfa_required": "1", "factors": ["totp"], "preview": "1"})
    text = shown.content.decode()
    assert "Would be without: 1" in text
    assert bob.email in text
    acme.refresh_from_db()
    assert acme.security == {}
    form = {"mfa_required": "1", "factors": ["totp"]}
    assert browser.post(PAGE, form)["Location"] == PAGE
    acme.refresh_from_db()
    assert acme.security == {"mfa_required": True, "factors": ["totp"]}
    with tenant_context(acme.schema_name):
        event = AuditEvent.objects.get(action="organization.security_changed")
    assert event.before == {"mfa_required": False, "factors": ["totp", "passkey"]}
    assert event.after == {"mfa_required": True, "factors": ["totp"]}
    answer = browser.get(API).json()
    assert answer == {"mfa_required": True, "factors": ["totp"], "without": [bob.email]}


def test_who_sets_it_must_be_able_to_come_back(client_for, alice, acme):
    browser = client_for(alice)
    answer = browser.put(API, {"mfa_required": True}, **JSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "mfa_own")
    assert browser.post(PAGE, {"mfa_required": "1", "factors": ["totp"]}).status_code == 409
    assert browser.post(PAGE, {"mfa_required": "1"}).status_code == 422
    dry = browser.put(API, {"mfa_required": True, "dry_run": True}, **JSON)
    assert len(dry.json()["without"]) == 2
    acme.refresh_from_db()
    assert acme.security == {}


def test_setting_it_takes_a_confirmation_and_the_permission(client_for, alice, bob):
    old = client_for(alice, is_recent=False)
    assert old.post(PAGE, {"factors": ["totp"]})["Location"].startswith("/account/confirm/")
    answer = old.put(API, {"mfa_required": False}, **JSON)
    assert answer.json()["code"] == "reauthentication_required"
    assert client_for(bob).get(PAGE).status_code == 403
    assert client_for(bob).put(API, {"mfa_required": False}, **JSON).status_code == 403
    assert 'href="/o/acme/security/"' not in client_for(bob).get("/o/acme/team/").content.decode()


def test_the_last_factor_that_counts_stays(bob, strict):
    device = app_of(bob)
    browser = signed_in(bob, device)
    answer = browser.post(f"/account/security/{device.pk}/remove/", follow=True)
    assert "Acme asks for one" in answer.content.decode()
    assert len(factors_of(bob)) == 1


def test_it_costs_no_query_where_nothing_is_asked(client_for, bob, django_assert_max_num_queries):
    browser = client_for(bob)
    browser.get("/api/v1/orgs/acme/members")
    with django_assert_max_num_queries(9) as before:
        browser.get("/api/v1/orgs/acme/members")
    policy(mfa_required=True, factors=["totp"])
    session = browser.session
    session["factors"] = ["password", "totp"]
    session.save()
    with django_assert_max_num_queries(len(before.captured_queries)):
        assert browser.get("/api/v1/orgs/acme/members").status_code == 200
