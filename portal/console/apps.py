"""Django configuration of the console app."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Console: no tables."""

    name = "portal.console"
    label = "console"
    default_auto_field = "django.db.models.BigAutoField"
