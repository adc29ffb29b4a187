"""WebSocket paths of the live channels."""

from django.urls import path

from portal.monitoring.consumers import ClusterConsumer, OrganizationConsumer

websocket_urlpatterns = [
    path("ws/orgs/<slug:slug>/clusters/<uuid:cluster_id>/", ClusterConsumer.as_asgi()),
    path("ws/orgs/<slug:slug>/", OrganizationConsumer.as_asgi()),
]
