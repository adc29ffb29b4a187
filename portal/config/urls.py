"""All addresses of the portal."""

from django.contrib import admin
from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver

handler400 = "portal.core.http.bad_request"
handler403 = "portal.core.http.permission_denied"
handler404 = "portal.core.http.page_not_found"
handler500 = "portal.core.http.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("portal.console.urls")),
    path("", include("portal.accounts.urls")),
    path("", include("portal.identity.urls")),
    path("", include("portal.access.urls")),
    path("o/<slug:slug>/", include("portal.console.urls_org")),
    path("api/", include("portal.api.urls")),
    path("internal/", include("portal.metering.internal_urls")),
    path("operators/", admin.site.urls),
]
