"""Second factors in a real browser: an app is set up, asked for, and confirms what is sensitive."""

import re

import pytest
from playwright.sync_api import Page, expect

from portal.core import clock
from tests.journeys.pages import forget_confirmations, page_at, picture, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(live_server, monkeypatch):
    # The browser's thread runs an event loop of its own.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with page_at(live_server.url) as page:
        yield page


def code(key: str, steps: int = 0) -> str:
    import base64
    from datetime import timedelta

    from portal.identity.totp import code_at

    moment = clock.now() + timedelta(seconds=30 * steps)
    return code_at(base64.b32decode(key.replace(" ", "")), moment)


def test_an_app_is_set_up_asked_for_and_confirms(page, alice):
    sign_in(page, alice.email)
    page.goto("/account/security/")
    picture(page, "security-none")
    page.click("text=Add an authenticator app")
    expect(page.locator("img.qr")).to_be_visible()
    assert page.evaluate("document.querySelector('img.qr').naturalWidth") > 0
    page.click("summary")
    key = page.inner_text("#totp-key")
    picture(page, "totp")
    page.fill("input[name=code]", code(key, -1))
    page.fill("input[name=name]", "Phone")
    page.click("text=Take it into use")
    codes = re.findall(r"\S{29}", page.inner_text("#codes"))
    assert len(codes) == 10
    picture(page, "codes")
    page.click("text=I have kept them")
    expect(page.locator("body")).to_contain_text("10 of them are left")
    picture(page, "security")
    sign_in_again(page, alice.email, key)
    confirm(page, codes[0])


def sign_in_again(page: Page, email: str, key: str) -> None:
    page.click("[aria-label='Account menu']")
    page.click("text=Sign out")
    sign_in(page, email)
    page.wait_for_url("**/login/factor/")
    page.fill("input[name=code]", "000000")
    page.click("text=Go on")
    expect(page.locator(".invalid-feedback")).to_contain_text("This code is not right")
    picture(page, "factor")
    page.fill("input[name=code]", code(key))
    page.click("text=Go on")
    page.wait_for_url("**/o/acme/")


def confirm(page: Page, recovery_code: str) -> None:
    forget_confirmations()
    page.goto("/account/tokens/")
    page.fill("input[name=name]", "Deploy")
    page.click(".card button[type=submit]")
    page.wait_for_url("**/account/confirm/**")
    picture(page, "confirm")
    page.fill("input[name=code]", recovery_code)
    page.click("text=Confirm >> nth=-1")
    page.wait_for_url("**/account/tokens/")
    page.fill("input[name=name]", "Deploy")
    page.click(".card button[type=submit]")
    expect(page.locator("#secret")).to_contain_text("aer_")
