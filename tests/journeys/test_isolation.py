"""Every URL of one organization, tried by a member of another, by a stranger and by bad tokens."""

import json
import re

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

UUID = "01890000-0000-7000-8000-000000000001"
SAMPLES = {
    "uuid": UUID,
    "int": "1",
    "slug": "sample",
    "str": "sample",
    "path": "sample",
}
PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
METHODS = ("get", "post", "put", "patch", "delete")


def walk(resolver: URLResolver, prefix: str = ""):
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield route


def organization_routes() -> list[str]:
    prefixes = ("o/<slug:slug>/", "api/v1/orgs/<slug:slug>")
    return sorted({route for route in walk(get_resolver()) if route.startswith(prefixes)})


def concrete(route: str, slug: str) -> str:
    def value(match: re.Match) -> str:
        return slug if match[2] == "slug" else SAMPLES[match[1] or "str"]

    return "/" + PARAMETER.sub(value, route)


def refusals(client: Client, slug: str, **headers) -> list[str]:
    """Return the routes that did anything but refuse."""
    wrong = []
    for route in organization_routes():
        for method in METHODS:
            path = concrete(route, slug)
            answer = (
                getattr(client, method)(
                    path, data=json.dumps({}), content_type="application/json", headers=headers
                )
                if method != "get"
                else client.get(path, headers=headers)
            )
            if answer.status_code not in {403, 404}:
                wrong.append(f"{method.upper()} {path} -> {answer.status_code}")
    return wrong


def test_the_walk_finds_the_routes_that_matter(db):
    routes = organization_routes()
    assert len(routes) > 40
    assert "api/v1/orgs/<slug:slug>/clusters/<uuid:cluster_id>/keys" in routes
    assert "o/<slug:slug>/team/" in routes


def test_a_member_of_another_organization_is_refused_everywhere(acme, charlie, client_for):
    assert refusals(client_for(charlie), acme.slug) == []


def test_a_token_of_another_organization_is_refused_everywhere(acme, globex, charlie):
    from portal.accounts.services import token_create

    _, secret = token_create(user=charlie, organization=globex, name="walk")
    assert refusals(Client(), acme.slug, authorization=f"Bearer {secret}") == []


def test_a_token_for_one_organization_opens_no_other_of_the_same_user(acme, globex, charlie):
    from portal.accounts.services import token_create
    from portal.organizations.services import membership_add

    membership_add(user_id=charlie.pk, organization=acme, role="viewer")
    _, secret = token_create(user=charlie, organization=globex, name="walk")
    assert refusals(Client(), acme.slug, authorization=f"Bearer {secret}") == []


def test_strangers_are_sent_to_sign_in_or_told_401(acme):
    client = Client()
    for route in organization_routes():
        path = concrete(route, acme.slug)
        answer = client.get(path)
        expected = {401} if path.startswith("/api/") else {302}
        assert answer.status_code in expected, f"{path} -> {answer.status_code}"
        if answer.status_code == 302:
            assert answer["Location"].startswith("/login/"), path


def test_an_organization_that_is_not_there_looks_the_same(charlie, acme, client_for):
    client = client_for(charlie)
    there = client.get(f"/o/{acme.slug}/")
    missing = client.get("/o/never-heard-of/")
    assert there.status_code == missing.status_code == 404
    hide = re.compile(rb"acme|never-heard-of|[0-9a-f-]{16,}")
    assert hide.sub(b"", there.content) == hide.sub(b"", missing.content)


@pytest.mark.parametrize("method", METHODS)
def test_a_viewer_may_not_write(acme, charlie, client_for, method):
    from portal.organizations.services import membership_add

    membership_add(user_id=charlie.pk, organization=acme, role="viewer")
    client = client_for(charlie)
    path = f"/api/v1/orgs/{acme.slug}/members/{UUID}"
    if method != "get":
        answer = getattr(client, method)(path, data="{}", content_type="application/json")
        assert answer.status_code in {403, 404, 405}
