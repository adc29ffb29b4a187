"""The API: documentation, and version 1 assembled from the apps."""

from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver
from drf_spectacular.views import SpectacularAPIView

from portal.api import docs, views

organization_routes: list[URLPattern | URLResolver] = [
    path("", include("portal.api.urls_org")),
    path("", include("portal.clusters.api_urls")),
    path("", include("portal.backups.api_urls")),
    path("", include("portal.metering.api_urls")),
    path("", include("portal.monitoring.api_urls")),
]
v1: list[URLPattern | URLResolver] = [
    path("me", views.MeView.as_view(), name="api-me"),
    path("orgs", views.OrganizationsView.as_view(), name="api-orgs"),
    path("orgs/<slug:slug>", views.OrganizationView.as_view(), name="api-org"),
    path("orgs/<slug:slug>/", include(organization_routes)),
    path("", include("portal.plans.api_urls")),
]
urlpatterns: list[URLPattern | URLResolver] = [
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", docs.page, name="api-docs"),
    path("v1/", include(v1)),
    path("v1/<path:rest>", docs.unknown),
]
