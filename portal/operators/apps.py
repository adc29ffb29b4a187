"""Django configuration of the operators app."""

from django.apps import AppConfig


class OperatorsConfig(AppConfig):
    """Operators: no tables."""

    name = "portal.operators"
    label = "operators"
    default_auto_field = "django.db.models.BigAutoField"
