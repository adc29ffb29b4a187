"""Django configuration of the api app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """API: idempotency records, public schema."""

    name = "portal.api"
    label = "api"
    default_auto_field = "django.db.models.BigAutoField"
