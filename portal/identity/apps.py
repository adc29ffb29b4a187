"""Django configuration of the identity app."""

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    """Identity: public schema."""

    name = "portal.identity"
    label = "identity"
    default_auto_field = "django.db.models.BigAutoField"
