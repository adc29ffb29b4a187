"""Django configuration of the organizations app."""

from django.apps import AppConfig


class OrganizationsConfig(AppConfig):
    """Organizations: public schema, since a login lists them."""

    name = "portal.organizations"
    label = "organizations"
    default_auto_field = "django.db.models.BigAutoField"
