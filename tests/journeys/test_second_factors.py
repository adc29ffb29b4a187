"""Second factors in a real browser: an app is set up, asked for, and confirms what is sensitive."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from portal.core import clock
from tests.conftest import PASSWORD
from tests.journeys.browsers import chromium

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(live_server, monkeypatch):
    # The browser's thread runs an event loop of its own.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        page = browser.new_context(base_url=live_server.url).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: dialog.accept())
        yield page
        browser.close()
    assert [text for text in complaints if "422" not in text] == []


def sign_in(page: Page, email: str) -> None:
    page.goto("/login/")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", PASSWORD)
    page.click(".card button[type=submit]")


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like, light, dark and narrow, if somebody wants to look."""
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    for theme, width in (("light", 1280), ("dark", 1280), ("light", 375), ("dark", 375)):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(f"document.documentElement.dataset.bsTheme = '{theme}'")
        # Colours fade into each other.
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / f"{name}-{theme}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})


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
    _forget_confirmations()
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


def _forget_confirmations() -> None:
    """Let five minutes pass in every session."""
    from portal.accounts.models import UserSession
    from portal.accounts.sessions import SessionStore

    for row in UserSession.objects.exclude(user_id=None):
        store = SessionStore(row.session_key)
        store["confirmed_at"] = 0.0
        store.save()
