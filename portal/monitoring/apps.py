"""Django configuration of the monitoring app."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """Monitoring: all its tables live in the organization's own schema."""

    name = "portal.monitoring"
    label = "monitoring"
    verbose_name = "Monitoring"
    default_auto_field = "django.db.models.BigAutoField"
