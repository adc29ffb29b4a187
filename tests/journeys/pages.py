"""A browser on the pages of the portal that runs in the test itself."""

import os
from contextlib import contextmanager
from pathlib import Path

from django.db import connections
from playwright.sync_api import Page, sync_playwright

from tests.conftest import PASSWORD
from tests.journeys.browsers import chromium

# A refused form, and a refused answer of a key, are part of the journey.
EXPECTED = ("422", "403", "404")


@contextmanager
def page_at(url: str):
    """Open a browser there; what it complains of fails the test."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        page = browser.new_context(base_url=url).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: dialog.accept())
        try:
            yield page
        finally:
            browser.close()
            # Playwright's loop has a context of its own, with a connection that nobody else closes.
            connections.close_all()
    unexpected = [text for text in complaints if not any(code in text for code in EXPECTED)]
    assert unexpected == [], unexpected


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


def forget_confirmations() -> None:
    """Let five minutes pass in every session."""
    from portal.accounts.models import UserSession
    from portal.accounts.sessions import SessionStore

    for row in UserSession.objects.exclude(user_id=None):
        store = SessionStore(row.session_key)
        store["confirmed_at"] = 0.0
        store.save()
