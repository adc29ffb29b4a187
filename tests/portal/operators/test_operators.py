"""The operators' pages: staff only, with a look into every organization."""

import pytest
from django.test import Client

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


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user, backend="portal.accounts.backends.EmailBackend")
    return client


@pytest.mark.parametrize("page", PAGES)
def test_staff_see_every_page(olga, page):
    assert signed_in(olga).get(page).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_customers_and_strangers_see_none(alice, page):
    assert signed_in(alice).get(page).status_code == 302
    assert Client().get(page).status_code == 302


def test_an_organization_shows_its_clusters_and_operations(olga, acme):
    from portal.clusters.models import Cluster
    from portal.core import clock
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
