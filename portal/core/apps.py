"""Django configuration of the core."""

from importlib import import_module
from typing import override

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """What every app needs; no tables."""

    name = "portal.core"
    label = "core"

    @override
    def ready(self) -> None:
        """Make our Celery application the one that tasks are sent by, in every process."""
        import_module("celery_app")
