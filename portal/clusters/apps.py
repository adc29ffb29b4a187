"""Registers clusters."""

from django.apps import AppConfig


class ClustersConfig(AppConfig):
    """Clusters and operations, in each organization's schema."""

    name = "portal.clusters"
    label = "clusters"
    verbose_name = "Clusters"
