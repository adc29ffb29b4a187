"""Paths that nodes call."""

from django.urls import path

from portal.metering.ingest import usage_view

urlpatterns = [path("usage", usage_view, name="internal-usage")]
