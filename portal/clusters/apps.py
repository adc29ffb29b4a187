"""Registers clusters."""

from typing import override

from django.apps import AppConfig


class ClustersConfig(AppConfig):
    """Clusters and operations, in each organization's schema."""

    name = "portal.clusters"
    label = "clusters"
    verbose_name = "Clusters"

    @override
    def ready(self) -> None:
        from portal.access.ports import cluster_names_register  # noqa: PLC0415 - apps first.
        from portal.clusters.selectors import cluster_names  # noqa: PLC0415 - apps first.

        cluster_names_register(cluster_names)
