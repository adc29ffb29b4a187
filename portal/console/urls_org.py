"""Pages of one organization; each view receives `slug`."""

from importlib.util import find_spec

from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver

from portal.console import views


def _mounted(prefix: str, module: str) -> list[URLPattern | URLResolver]:
    """Include the pages of an app that exists."""
    try:
        is_there = all(find_spec(name) for name in (module, "portal.clusters.selectors"))
    except ModuleNotFoundError:
        is_there = False
    return [path(prefix, include(module))] if is_there else []


urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.dashboard, name="dashboard"),
    path("settings/", views.organization_settings, name="organization-settings"),
    path("", include("portal.access.urls_org")),
    path("activity/", views.activity, name="activity"),
    *_mounted("clusters/<uuid:cluster_id>/data/", "portal.explorer.urls"),
    *_mounted("clusters/", "portal.clusters.urls"),
    *_mounted("usage/", "portal.metering.urls"),
]
