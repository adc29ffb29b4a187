"""The API's root: who am I, which organizations, the schema, and the shape of refusals."""

import pytest
from django.test import Client

from portal.accounts.services import token_create

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(alice):
    _, secret = token_create(user=alice, name="test")
    return Client(headers={"Authorization": f"Bearer {secret}"})


def test_me_lists_organizations_with_permissions(api, acme):
    body = api.get("/api/v1/me").json()
    assert body["email"] == "alice@example.com"
    mine = next(org for org in body["organizations"] if org["slug"] == "acme")
    assert mine["role"] == "owner"


def test_organizations_are_listed_made_and_renamed(api, acme):
    listed = api.get("/api/v1/orgs").json()
    assert [org["slug"] for org in listed["results"]] == ["acme"]
    renamed = api.patch("/api/v1/orgs/acme", {"name": "Acme Ltd"}, content_type="application/json")
    assert renamed.json()["name"] == "Acme Ltd"
    unknown = api.patch("/api/v1/orgs/acme", {"colour": 1}, content_type="application/json")
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["pointer"] == "/colour"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/orgs/globex", 404, "not_found"),
        ("/api/v1/orgs/globex/clusters", 404, "not_found"),
        ("/api/v1/nothing", 404, "not_found"),
    ],
)
def test_refusals_are_problems_with_codes(api, globex, path, status, code):
    answer = api.get(path)
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.json()["code"] == code


def test_without_a_token_everything_is_unauthenticated(acme):
    for path in ("/api/v1/me", "/api/v1/orgs", "/api/v1/orgs/acme/clusters"):
        answer = Client().get(path)
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"


def test_the_description_covers_every_app_and_the_page_shows_it():
    document = Client().get("/api/schema/?format=json").json()
    assert document["openapi"].startswith("3.1")
    for path in ("me", "plans", "orgs/{slug}/clusters", "orgs/{slug}/usage", "orgs/{slug}/audit"):
        assert f"/api/v1/{path}" in document["paths"], path
    page = Client().get("/api/docs/")
    assert page.status_code == 200
    assert b"<script>" not in page.content


def test_a_list_costs_the_same_number_of_queries_however_long(
    api, acme, django_assert_max_num_queries
):
    with django_assert_max_num_queries(14):
        assert api.get("/api/v1/orgs/acme/members").status_code == 200
