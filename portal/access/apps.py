"""Django configuration of the access app."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    """Access: invitations live in the organization's schema."""

    name = "portal.access"
    label = "access"
    default_auto_field = "django.db.models.BigAutoField"
