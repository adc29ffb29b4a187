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
        # Here, because models are loaded by now.
        from portal.backups.presentation import branch_marks, branch_note  # noqa: PLC0415
        from portal.backups.restoring import register  # noqa: PLC0415
        from portal.clusters.pages import notes_register  # noqa: PLC0415

        register()
        notes_register(branch_note, branch_marks)
