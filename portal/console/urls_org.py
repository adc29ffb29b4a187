"""Pages of one organization; each view receives `slug`."""

from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver

from portal.console import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.dashboard, name="dashboard"),
    path("settings/", views.organization_settings, name="organization-settings"),
    path("", include("portal.access.urls_org")),
    path("activity/", views.activity, name="activity"),
    path("clusters/<uuid:cluster_id>/data/", include("portal.explorer.urls")),
    path("clusters/<uuid:cluster_id>/backups/", include("portal.backups.urls")),
    path("clusters/", include("portal.clusters.urls")),
    path("usage/", include("portal.metering.urls")),
]
