"""Django configuration of the explorer app."""

from django.apps import AppConfig


class ExplorerConfig(AppConfig):
    """Explorer: all its tables live in the organization's own schema."""

    name = "portal.explorer"
    label = "explorer"
    verbose_name = "Explorer"
    default_auto_field = "django.db.models.BigAutoField"
