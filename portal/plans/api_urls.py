"""API paths of the catalogue."""

from django.urls import path

from portal.plans.api import PlansView, RegionsView

urlpatterns = [
    path("plans", PlansView.as_view(), name="api-plans"),
    path("regions", RegionsView.as_view(), name="api-regions"),
]
