"""A newcomer's way through the pages, in a real browser against a whole installation."""

import os
import re

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.installations import installation
from tests.journeys.browsers import chromium

CSV = "code,city,height\nOSL,Oslo,208\nBGO,Bergen,52\nTRD,Trondheim,17\n"
EMAIL = "newcomer@example.com"
PASSWORD = "violet harbour lantern 7"


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journey")
    for path in (folder, folder.parent):
        path.chmod(0o711)
    with installation(folder / "home") as made:
        yield made.up("--no-demo")["portal"].rstrip("/")


@pytest.fixture
def page(portal):
    complaints: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        page = browser.new_context(base_url=portal).new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on(
            "response",
            lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 500 else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        yield page
        browser.close()
    assert complaints == []


def sign_up(page: Page) -> None:
    page.goto("/signup/")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button:has-text('Sign up')")
    page.goto("/mailbox/")
    page.click("a[href*='/signup/confirm/']")
    page.click("button:has-text('Confirm')")
    if "/login/" in page.url:
        page.fill("input[name=username], input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("main button[type=submit], .card button[type=submit]")
    page.goto("/organizations/new/")
    page.fill("input[name=name]", "Newcomers")
    page.click("button:has-text('Create')")
    page.wait_for_url(re.compile("/o/newcomers/"))


def create_cluster(page: Page) -> str:
    page.goto("/o/newcomers/clusters/new/")
    page.fill("input[name=name]", "First")
    page.check("input[name=plan][value=professional]", force=True)
    page.check("input[name=nodes][value='4']", force=True)
    page.click("[data-part=submit]")
    page.wait_for_url(re.compile(r"/clusters/[0-9a-f-]{36}/|/operations/[0-9a-f-]{36}/"))
    page.goto("/o/newcomers/clusters/")
    page.click("a:has-text('First')")
    page.wait_for_url(re.compile(r"/clusters/[0-9a-f-]{36}/$"))
    expect(page.locator("body")).to_contain_text("Running", timeout=60_000)
    return page.url.rstrip("/")


def import_csv(page: Page, cluster: str) -> None:
    page.goto(f"{cluster}/data/imports/new/")
    page.fill("#import-collection", "airports")
    page.fill("#import-text", CSV)
    page.click("button:has-text('Preview')")
    page.select_option("#id-field", "code")
    page.click("button:has-text('Start import')")
    page.goto(f"{cluster}/data/c/airports/")
    rows = page.locator("[data-row]")
    for _ in range(20):
        if rows.count() == 3:
            break
        page.wait_for_timeout(250)
        page.reload()
    expect(rows).to_have_count(3)
    page.fill("#query-filter", '{"height": {"$gt": 100}}')
    page.click("button:has-text('Run')")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("OSL")


def proven_in_the_browser(page: Page, cluster: str) -> None:
    """Check a document with keys that this browser remembers, and doubt when they are others."""
    page.goto(f"{cluster}/data/c/airports/document/?id=OSL")
    page.click("[data-verify]")
    result = page.locator("#proof-result")
    expect(result).to_contain_text("Proven in this browser: version 1")
    page.fill("#document-text", '{"city": "Bergen"}')
    page.click("[data-verify]")
    expect(result).to_contain_text("The text on this page is not what was proven")
    page.evaluate(
        """() => {
          const name = Object.keys(localStorage).find((key) => key.includes("anchor"));
          const kept = JSON.parse(localStorage[name]);
          for (const one of kept.anchor.validators) one.public_key = `1${one.id}`.repeat(32);
          localStorage[name] = JSON.stringify(kept);
        }"""
    )
    page.click("[data-verify]")
    expect(result).to_contain_text("bad_signature")
    page.click('button:has-text("Trust the portal\'s keys")')
    expect(result).to_contain_text("Proven in this browser")


def node_url(page: Page, cluster: str) -> str:
    page.goto(f"{cluster}/connect/")
    found = re.search(r"http://127\.0\.0\.1:\d+", page.inner_text("main, .page-wrapper"))
    assert found is not None
    return found[0]


def key_made_and_revoked(page: Page, cluster: str) -> None:
    url = node_url(page, cluster)
    page.goto(f"{cluster}/keys/")
    page.fill("input[name=name]", "script")
    page.click("button:has-text('Create key')")
    secret = page.inner_text("#secret")
    headers = {"Authorization": f"Bearer {secret}"}
    path = f"{url}/api/v1/collections/airports/documents/OSL"
    with httpx.Client(trust_env=False, headers=headers) as client:
        assert client.get(path).json()["city"] == "Oslo"
        page.goto(f"{cluster}/keys/")
        page.click("tr:has-text('script') button:has-text('Revoke')")
        if page.locator("dialog[open] button.btn-danger, .modal.show .btn-danger").count():
            page.click("dialog[open] button.btn-danger, .modal.show .btn-danger")
        expect(page.locator("tr:has-text('script')")).to_contain_text("revoked")
        assert client.get(path).status_code == 401


def broken_and_put_back(page: Page, cluster: str) -> None:
    """Make it a sandbox, have a node lie, watch the cluster hold, and put the node back."""
    page.goto(f"{cluster}/chaos/")
    expect(page.locator("main")).to_contain_text("This cluster is no sandbox")
    page.goto(f"{cluster}/settings/")
    page.click("button:has-text('Make it a sandbox')")
    page.goto(f"{cluster}/chaos/")
    page.select_option("#node-3", "equivocate")
    expect(page.locator("[data-part=count]")).to_have_text("1 of f = 1: the cluster must hold.")
    page.fill("#confirm", "First")
    # Signing in confirms who it is for five minutes; a slow machine may take longer to come here.
    if page.locator("#password").count():
        page.fill("#password", PASSWORD)
    page.click("button:has-text('Break them')")
    expect(page.locator("[data-part=status]")).to_have_text("Running", timeout=60_000)
    expect(page.locator("[data-part=ok]")).to_have_text(re.compile(r"^[1-9]"), timeout=30_000)
    expect(page.locator("[data-part=nodes]")).to_contain_text("equivocate")
    expect(page.locator("[data-part=events]")).to_contain_text(
        "that node 3 signed two things", timeout=60_000
    )
    expect(page.locator("[data-part=reads]")).to_have_text(re.compile(r", 0$"))
    page.click("button:has-text('Revert now')")
    # The page comes back by itself with the form and the outcome.
    row = page.locator("tr:has-text('Equivocate: 3')")
    expect(row).to_contain_text("Held", timeout=120_000)
    page.goto(f"{cluster}/accountability/")
    expect(page.locator("main")).to_contain_text("No node of this cluster was ever caught lying")


def test_from_sign_up_to_a_revoked_key(page):
    sign_up(page)
    cluster = create_cluster(page)
    import_csv(page, cluster)
    proven_in_the_browser(page, cluster)
    page.goto(cluster + "/")
    sequence = page.locator("[data-part=value-sequence]").first
    expect(sequence).to_have_text(re.compile(r"[1-9]"), timeout=15_000)
    page.goto("/o/newcomers/usage/")
    expect(page.locator("body")).to_contain_text("Professional")
    key_made_and_revoked(page, cluster)
    broken_and_put_back(page, cluster)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": 375, "height": 800})
        paths = ("/o/newcomers/", "/o/newcomers/clusters/", "/o/newcomers/usage/")
        for path in (*paths, f"{cluster}/chaos/"):
            page.goto(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 375, f"{path} is {width} px wide"
