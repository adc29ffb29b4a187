"""Registers the catalogue."""

from django.apps import AppConfig


class PlansConfig(AppConfig):
    """Plans and regions, in the public schema."""

    name = "portal.plans"
    label = "plans"
    verbose_name = "Plans"
