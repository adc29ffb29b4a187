"""Confirming again who one is: where it is asked, by what, and for how long it holds."""

from datetime import timedelta

import pytest
from django.test import Client

from portal.accounts.models import UserSession
from portal.accounts.services import token_create
from portal.core import clock
from portal.identity.constants import CONFIRMED_FOR, SENSITIVE_ACTIONS
from tests.conftest import PASSWORD
from tests.portal.identity.people import app_of, code_of, sign_in

pytestmark = pytest.mark.django_db

CONFIRM = "/account/confirm/"
NO_CLUSTER = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def made(acme):
    """A cluster that is only a row."""
    from portal.clusters.models import Cluster
    from portal.core.tenancy import tenant_context

    with tenant_context(acme.schema_name):
        return Cluster.objects.create(
            name="Orders",
            slug="orders",
            plan="starter",
            region="local-1",
            desired_nodes=4,
            is_sandbox=True,
            data_plane_id="0" * 32,
            usage_token_hash="x",
            created_by="alice@example.com",
            created_at=clock.now(),
        )


def pages(cluster) -> dict[str, list[str]]:
    at = f"/o/acme/clusters/{cluster.pk}"
    return {
        "account.factors": [
            "/account/security/recovery/",
            f"/account/security/{NO_CLUSTER}/remove/",
        ],
        "token.create": ["/account/tokens/", "/o/acme/tokens/"],
        "cluster.delete": [f"{at}/delete/"],
        "cluster.key": [f"{at}/keys/", f"{at}/connect/"],
        "cluster.encryption": [f"{at}/keys-of-storage/"],
        "cluster.compliance": [f"{at}/compliance/", f"{at}/audit/settings/"],
        "subject.erase": [f"{at}/subjects/"],
        "cluster.break": [f"{at}/chaos/"],
        "organization.policy": ["/o/acme/security/"],
        "role.grant": [f"/o/acme/team/{NO_CLUSTER}/role/"],
    }


FIELDS = {"name": "x", "days": "30", "apply": "1"}


def test_every_sensitive_page_asks_and_leads_back(client_for, alice, made):
    browser = client_for(alice, is_recent=False)
    asked = pages(made)
    # These have a test of their own: their forms take the proof along.
    by_form = {
        "account.email",
        "account.password",
        "role.grant",
        "role.change",
        "organization.policy",
    }
    assert set(SENSITIVE_ACTIONS) == set(asked) | by_form
    for action, paths in asked.items():
        for path in paths:
            answer = browser.post(
                path, FIELDS, headers={"Referer": "http://testserver/o/acme/?a=1"}
            )
            if action == "cluster.break":
                assert answer.status_code == 403, path
                assert "Your password" in answer.content.decode()
                continue
            assert answer.status_code == 302, path
            wanted = f"{CONFIRM}?next=%2Fo%2Facme%2F%3Fa%3D1&action={action}"
            assert answer["Location"] == wanted, path
    page = browser.get(f"{CONFIRM}?next=/o/acme/&action=cluster.delete").content.decode()
    assert "To delete a cluster, as alice@example.com." in page


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("delete", "clusters/{pk}", {"confirm": "Orders"}),
        ("post", "clusters/{pk}/rotate-keys", {}),
        ("post", "clusters/{pk}/keys", {"name": "x", "scopes": ["read"]}),
        ("post", "clusters/{pk}/token/rotate", {}),
        ("put", "clusters/{pk}/compliance", {"modes": [], "confirm": "Orders"}),
        ("put", "clusters/{pk}/audit/settings", {"level": "writes", "retention_days": 1}),
        ("post", "clusters/{pk}/subjects/erase", {"subject": "a", "confirm": "Orders"}),
        ("post", "tokens", {"name": "x"}),
        ("patch", f"members/{NO_CLUSTER}", {"role": "viewer"}),
    ],
)
def test_the_api_asks_browsers_and_lets_tokens_pass(
    client_for, alice, acme, made, method, path, body
):
    where = f"/api/v1/orgs/acme/{path.format(pk=made.pk)}"
    options = {"content_type": "application/json"}
    answer = getattr(client_for(alice, is_recent=False), method)(where, body, **options)
    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    recent = getattr(client_for(alice), method)(where, body, **options)
    assert recent.json().get("code") != "reauthentication_required"
    _, secret = token_create(user=alice, organization=acme, name="t")
    headers = {"Authorization": f"Bearer {secret}"}
    by_token = getattr(Client(), method)(where, body, headers=headers, **options)
    assert by_token.json().get("code") != "reauthentication_required"


def test_signing_in_counts_and_holds_for_minutes(client, alice):
    sign_in(client, alice)
    assert client.get("/account/security/totp/").status_code == 200
    with clock.frozen(clock.now() + CONFIRMED_FOR + timedelta(seconds=1)):
        answer = client.get("/account/security/totp/")
    assert answer["Location"].startswith(CONFIRM)


def test_a_password_confirms_under_a_new_key_of_the_session(client_for, alice):
    browser = client_for(alice, is_recent=False)
    before = browser.session.session_key
    wrong = browser.post(CONFIRM, {"password": "not mine at all", "next": "/o/acme/"})
    assert wrong.status_code == 422
    assert browser.session.session_key == before
    right = browser.post(CONFIRM, {"password": PASSWORD, "next": "/o/acme/"})
    assert right["Location"] == "/o/acme/"
    assert browser.session.session_key != before
    assert not UserSession.objects.filter(session_key=before).exists()
    assert browser.get("/account/security/totp/").status_code == 200


def test_who_has_a_factor_confirms_with_it_and_not_with_the_password(client_for, alice):
    device = app_of(alice)
    browser = client_for(alice, is_recent=False)
    assert "Code" in browser.get(CONFIRM).content.decode()
    assert browser.post(CONFIRM, {"password": PASSWORD}).status_code == 422
    assert browser.post(CONFIRM, {"code": PASSWORD}).status_code == 422
    assert browser.get("/account/security/totp/").status_code == 302
    code = code_of(device)
    assert browser.post(CONFIRM, {"code": code})["Location"] == "/account/"
    assert browser.get("/account/security/totp/").status_code == 200
    other = client_for(alice, is_recent=False)
    assert other.post(CONFIRM, {"code": code}).status_code == 422


@pytest.mark.parametrize("page", ["email", "password"])
def test_address_and_password_are_changed_under_the_factor_too(client_for, alice, page):
    browser = client_for(alice, is_recent=False)
    assert browser.get(f"/account/{page}/").status_code == 200
    app_of(alice)
    assert browser.get(f"/account/{page}/")["Location"].startswith(CONFIRM)
    form = {"current": PASSWORD, "password": "violet harbour 7", "email": "new@example.com"}
    assert browser.post(f"/account/{page}/", form)["Location"].startswith(CONFIRM)
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/o/acme/", "http://testserver.evil.example/", "nonsense", ""]
)
def test_the_way_back_is_a_page_of_ours(client_for, alice, elsewhere):
    browser = client_for(alice, is_recent=False)
    answer = browser.post("/account/security/recovery/", headers={"Referer": elsewhere})
    assert answer["Location"] == f"{CONFIRM}?next=%2Faccount%2F&action=account.factors"
    done = browser.post(CONFIRM, {"password": PASSWORD, "next": elsewhere})
    assert done["Location"] == "/account/"


def test_a_session_of_before_the_confirmation_does_not_carry_it(client_for, alice):
    browser = client_for(alice, is_recent=False)
    copied = Client()
    copied.cookies = browser.cookies.copy()
    browser.post(CONFIRM, {"password": PASSWORD})
    assert copied.get("/account/security/totp/")["Location"].startswith("/login/")


def test_guessing_passwords_is_slowed_down(client_for, alice):
    browser = client_for(alice, is_recent=False)
    answers = [browser.post(CONFIRM, {"password": f"guess {n}"}) for n in range(21)]
    assert "Too many attempts" in answers[-1].content.decode()
    assert browser.post(CONFIRM, {"password": PASSWORD}).status_code == 422
