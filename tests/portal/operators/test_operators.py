"""The operators' pages: staff only, with a look into every organization."""

from datetime import timedelta

import pytest
from django.test import Client

from portal.core import clock
from portal.operators.middleware import FACTOR_FOR
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

PAGES = [
    "/operators/",
    "/operators/accounts/user/",
    "/operators/organizations/organization/",
    "/operators/organizations/organization/across/",
    "/operators/organizations/membership/",
    "/operators/accounts/accesstoken/",
    "/operators/plans/plan/",
    "/operators/plans/region/",
]


def signed_in(user, factors=("password", "totp")) -> Client:
    client = Client()
    client.force_login(user, backend="portal.accounts.backends.EmailBackend")
    session = client.session
    session["factors"], session["signed_in_at"] = factors, clock.now().isoformat()
    session.save()
    return client


@pytest.mark.parametrize("page", PAGES)
def test_staff_see_every_page(olga, page):
    assert signed_in(olga).get(page).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_customers_and_strangers_see_none(alice, page):
    assert signed_in(alice).get(page).status_code == 404
    assert Client().get(page)["Location"] == "/login/?next=/operators/"


@pytest.mark.parametrize("page", PAGES)
def test_staff_without_a_second_factor_see_none(olga, page):
    client = signed_in(olga, factors=["password"])
    assert client.get(page)["Location"] == "/login/?next=/operators/"
    assert client.get("/account/").status_code == 302


def test_the_proof_of_staff_is_of_today(olga):
    client = signed_in(olga)
    with clock.frozen(clock.now() + FACTOR_FOR + timedelta(minutes=1)):
        assert client.get("/operators/").status_code == 302


def test_the_form_of_the_admin_lets_nobody_in(olga):
    form = {"username": olga.email, "password": PASSWORD, "next": "/operators/"}
    answer = Client().post("/operators/login/", form)
    assert answer["Location"] == "/login/?next=/operators/"
    assert not answer.cookies.get("sessionid")


def test_an_organization_shows_its_clusters_and_operations(olga, acme):
    from portal.clusters.models import Cluster
    from portal.core.tenancy import current_schema, tenant_context

    with tenant_context(acme.schema_name):
        Cluster.objects.create(
            name="<b>orders</b>",
            slug="orders",
            plan="starter",
            region="local-1",
            desired_nodes=3,
            data_plane_id="0" * 32,
            usage_token_hash="x",
            created_by="alice@example.com",
            created_at=clock.now(),
        )
    page = signed_in(olga).get(f"/operators/organizations/organization/{acme.pk}/change/")
    assert page.status_code == 200
    assert b"&lt;b&gt;orders&lt;/b&gt;" in page.content
    everywhere = signed_in(olga).get("/operators/organizations/organization/across/")
    assert b"&lt;b&gt;orders&lt;/b&gt;" in everywhere.content
    assert current_schema() == "public"


def test_only_the_operators_pages_have_the_looser_policy(olga, alice):
    admin = signed_in(olga).get("/operators/").headers["Content-Security-Policy"]
    assert "'unsafe-eval'" in admin
    portal = signed_in(alice).get("/o/acme/").headers["Content-Security-Policy"]
    assert "unsafe" not in portal
