"""API paths of monitoring, below `/orgs/{slug}/`."""

from django.urls import path

from portal.monitoring.api import MetricsView

urlpatterns = [
    path("clusters/<uuid:cluster_id>/metrics", MetricsView.as_view(), name="api-metrics"),
]
