"""Pages of usage and cost, below `/o/{slug}/usage/`."""

from django.urls import path

from portal.metering.views import usage_page

app_name = "metering"
urlpatterns = [path("", usage_page, name="usage")]
