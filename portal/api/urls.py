"""The API: documentation, and version 1 assembled from the apps."""

from importlib.util import find_spec

from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver
from drf_spectacular.views import SpectacularAPIView

from portal.api import docs, views


def _mounted(prefix: str, module: str) -> list[URLPattern | URLResolver]:
    """Include the routes of an app that exists."""
    try:
        is_there = all(find_spec(name) for name in (module, "portal.clusters.selectors"))
    except ModuleNotFoundError:
        is_there = False
    return [path(prefix, include(module))] if is_there else []


organization_routes: list[URLPattern | URLResolver] = [
    path("", include("portal.api.urls_org")),
    *_mounted("", "portal.clusters.api_urls"),
    *_mounted("", "portal.metering.api_urls"),
    *_mounted("", "portal.monitoring.api_urls"),
    *_mounted("", "portal.explorer.api_urls"),
]
v1: list[URLPattern | URLResolver] = [
    path("me", views.MeView.as_view(), name="api-me"),
    path("orgs", views.OrganizationsView.as_view(), name="api-orgs"),
    path("orgs/<slug:slug>", views.OrganizationView.as_view(), name="api-org"),
    path("orgs/<slug:slug>/", include(organization_routes)),
    *_mounted("", "portal.plans.api_urls"),
]
urlpatterns: list[URLPattern | URLResolver] = [
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", docs.page, name="api-docs"),
    path("v1/", include(v1)),
    path("v1/<path:rest>", docs.unknown),
]
