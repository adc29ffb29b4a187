"""Django configuration of the clusters app."""

from django.apps import AppConfig


class ClustersConfig(AppConfig):
    """Clusters live in the organization's schema."""

    name = "portal.clusters"
    label = "clusters"
    default_auto_field = "django.db.models.BigAutoField"
