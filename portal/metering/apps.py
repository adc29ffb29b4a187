"""Django configuration of the metering app."""

from django.apps import AppConfig


class MeteringConfig(AppConfig):
    """Metering: all its tables live in the organization's own schema."""

    name = "portal.metering"
    label = "metering"
    verbose_name = "Metering"
    default_auto_field = "django.db.models.BigAutoField"
