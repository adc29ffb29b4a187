"""Django configuration of the billing app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Billing: pure rules about money; it stores nothing yet."""

    name = "portal.billing"
    label = "billing"
    verbose_name = "Billing"
