"""Django configuration of the plans app."""

from django.apps import AppConfig


class PlansConfig(AppConfig):
    """The catalogue lives in the public schema."""

    name = "portal.plans"
    label = "plans"
    default_auto_field = "django.db.models.BigAutoField"
