"""Registers backups, and what restoring one does to a cluster."""

from typing import override

from django.apps import AppConfig


class BackupsConfig(AppConfig):
    """Backups, in each organization's schema."""

    name = "portal.backups"
    label = "backups"
    verbose_name = "Backups"

    @override
    def ready(self) -> None:
        from portal.backups.restoring import register  # noqa: PLC0415 - models are loaded by now

        register()
