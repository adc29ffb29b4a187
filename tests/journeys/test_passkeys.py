"""Passkeys in a real browser, with the authenticator that its developers' protocol offers."""

import pytest
from playwright.sync_api import Page, expect

from portal.identity.models import Passkey
from portal.identity.selectors import factors_of
from tests.journeys.pages import forget_confirmations, page_at, picture, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
OLD_KEY = {"protocol": "u2f", "transport": "usb", "automaticPresenceSimulation": True}
# Asks for one purpose and answers for another, or answers twice.
ANSWER = """async ([begin, finishes]) => {
  const { api } = await import("/static/app.js");
  const bytes = (t) => Uint8Array.from(
    atob(t.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const options = await api(begin, { method: "POST", json: {} });
  const made = await navigator.credentials.get({ publicKey: {
    ...options,
    challenge: bytes(options.challenge),
    allowCredentials: (options.allowCredentials ?? []).map((o) => ({ ...o, id: bytes(o.id) })),
  } });
  const json = { id: made.id, rawId: text(made.rawId), type: made.type, response: {
    clientDataJSON: text(made.response.clientDataJSON),
    authenticatorData: text(made.response.authenticatorData),
    signature: text(made.response.signature), userHandle: null } };
  const codes = [];
  for (const finish of finishes) {
    try {
      await api(finish, { method: "POST", json });
      codes.push("accepted");
    } catch (error) { codes.push(error.code); }
  }
  return codes;
}"""


@pytest.fixture
def page(live_server, monkeypatch, settings):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    settings.PORTAL_URL = live_server.url
    with page_at(live_server.url) as page:
        yield page


def authenticator(page: Page, options: dict) -> None:
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable", {"enableUI": False})
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def add(page: Page, name: str) -> None:
    page.goto("/account/security/")
    page.fill("input[name=passkey-name]", name)
    page.click("[data-passkey-add] button")
    page.wait_for_selector("#codes:has-text('-')")


def sign_out(page: Page) -> None:
    page.goto("/account/")
    page.click("[aria-label='Account menu']")
    page.click("text=Sign out")


def test_a_passkey_signs_in_without_a_password_and_confirms(page, alice, bob):
    authenticator(page, PHONE)
    sign_in(page, alice.email)
    add(page, "Laptop")
    assert len(page.inner_text("#codes").split()) == 10
    page.click("text=I have kept them")
    expect(page.locator("body")).to_contain_text("Laptop")
    picture(page, "passkeys")
    sign_out(page)
    page.goto("/login/?next=/o/acme/team/")
    picture(page, "login")
    page.click("text=Sign in with a passkey")
    expect(page.locator("h1")).to_contain_text("Team")
    forget_confirmations()
    page.goto("/account/security/totp/")
    page.wait_for_url("**/account/confirm/**")
    picture(page, "confirm-passkey")
    page.click("text=Confirm with a passkey")
    page.wait_for_url("**/account/security/totp/")
    assert Passkey.objects.get().sign_count > 1
    page.goto("/o/acme/security/")
    page.check("[name=mfa_required]")
    page.click("text=Show who is without")
    expect(page.locator("body")).to_contain_text("Would be without: 1")
    picture(page, "policy")
    page.click("text=Save")
    page.wait_for_selector(".alert:has-text('Saved.')")
    sign_out(page)
    sign_in(page, bob.email)
    page.wait_for_url("**/account/security/")
    expect(page.locator("body")).to_contain_text("This organization asks for a second factor")
    picture(page, "led")


def test_an_old_security_key_is_a_second_factor_and_no_more(page, alice):
    authenticator(page, OLD_KEY)
    sign_in(page, alice.email)
    add(page, "Blue key")
    sign_out(page)
    sign_in(page, alice.email)
    page.wait_for_url("**/login/factor/")
    picture(page, "factor-passkey")
    page.click("text=Use a passkey")
    page.wait_for_url("**/o/acme/")
    sign_out(page)
    page.goto("/login/")
    page.click("text=Sign in with a passkey")
    expect(page.locator("[data-part=problem]")).to_contain_text("no passkey was found")


def test_an_answer_is_good_once_and_for_what_was_asked(page, alice):
    authenticator(page, PHONE)
    sign_in(page, alice.email)
    add(page, "Laptop")
    begin, finish = "/passkey/confirm/begin/", "/passkey/confirm/finish/"
    assert page.evaluate(ANSWER, [begin, [finish, finish]]) == ["accepted", "factor_wrong"]
    assert page.evaluate(ANSWER, ["/passkey/login/begin/", [finish]]) == ["factor_wrong"]
    sign_out(page)
    sign_in(page, alice.email)
    asked = ["/passkey/factor/begin/", ["/passkey/login/finish/"]]
    assert page.evaluate(ANSWER, asked) == ["factor_wrong"]
    assert page.evaluate(ANSWER, ["/passkey/factor/begin/", [finish]]) == ["not_found"]
    page.goto("/account/")
    assert "/login/" in page.url


@pytest.mark.parametrize("change", ["removed", "inactive", "other_origin", "other_count"])
def test_a_key_that_should_not_open_does_not(page, alice, settings, change):
    authenticator(page, PHONE)
    sign_in(page, alice.email)
    add(page, "Laptop")
    sign_out(page)
    match change:
        case "removed":
            Passkey.objects.all().delete()
        case "inactive":
            type(alice).objects.filter(pk=alice.pk).update(is_active=False)
        case "other_count":
            Passkey.objects.update(sign_count=10_000)
    page.goto("/login/")
    if change == "other_origin":
        settings.PORTAL_URL = settings.PORTAL_URL + "1"
    page.click("text=Sign in with a passkey")
    expect(page.locator("[data-part=problem]")).to_contain_text("was not accepted")
    page.goto("/account/")
    assert "/login/" in page.url


def test_the_key_of_somebody_else_is_no_second_factor(page, alice, bob):
    authenticator(page, PHONE)
    for person in (alice, bob):
        sign_in(page, person.email)
        add(page, person.name)
        sign_out(page)
    assert [len(factors_of(person)) for person in (alice, bob)] == [1, 1]
    sign_in(page, alice.email)
    page.wait_for_url("**/login/factor/")
    # Alice's browser is asked for her key, and answers with Bob's.
    hers, his = (Passkey.objects.get(user=person) for person in (alice, bob))
    listed = bytes(hers.credential_id)
    page.route("**/passkey/factor/begin/", lambda route: _swap(route, listed, his))
    answered = page.evaluate(ANSWER, ["/passkey/factor/begin/", ["/passkey/factor/finish/"]])
    assert answered == ["factor_wrong"]


def _swap(route, listed: bytes, other: Passkey) -> None:
    from webauthn.helpers import bytes_to_base64url

    answer = route.fetch()
    before = bytes_to_base64url(listed)
    assert before in answer.text()
    swapped = answer.text().replace(before, bytes_to_base64url(bytes(other.credential_id)))
    route.fulfill(response=answer, body=swapped)
