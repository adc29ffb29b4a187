"""API paths of usage and costs, below `/orgs/{slug}/`."""

from django.urls import path

from portal.metering.api import CostsCsvView, CostsView, UsageCsvView, UsageView

urlpatterns = [
    path("usage", UsageView.as_view(), name="api-usage"),
    path("usage.csv", UsageCsvView.as_view(), name="api-usage-csv"),
    path("costs", CostsView.as_view(), name="api-costs"),
    path("costs.csv", CostsCsvView.as_view(), name="api-costs-csv"),
]
