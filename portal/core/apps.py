"""Django configuration of the core."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """What every app needs; no tables."""

    name = "portal.core"
    label = "core"
