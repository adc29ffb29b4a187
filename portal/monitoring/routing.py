"""WebSocket paths of the live channels."""

from typing import Any

from django.urls import path

from portal.monitoring.consumers import ClusterConsumer, OrganizationConsumer

# Django's `path` is typed for HTTP views; Channels routes ASGI applications with it.
_cluster: Any = ClusterConsumer.as_asgi()
_organization: Any = OrganizationConsumer.as_asgi()

websocket_urlpatterns = [
    path("ws/orgs/<slug:slug>/clusters/<uuid:cluster_id>/", _cluster),
    path("ws/orgs/<slug:slug>/", _organization),
]
