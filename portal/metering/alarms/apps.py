"""Django configuration of the metering alarms, which live in the public schema."""

from django.apps import AppConfig


class MeteringAlarmsConfig(AppConfig):
    """Metering alarms: apart from metering because operators read them over all tenants."""

    name = "portal.metering.alarms"
    label = "metering_alarms"
    verbose_name = "Metering alarms"
    default_auto_field = "django.db.models.BigAutoField"
