"""Django configuration of the audit app."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Audit: the organization's schema."""

    name = "portal.audit"
    label = "audit"
    default_auto_field = "django.db.models.BigAutoField"
