"""Migrations of the public schema and of every organization's, by the role that owns the tables."""

from typing import Any, override

from django_tenants.management.commands.migrate_schemas import Command as MigrateSchemasCommand

from portal.core.tenancy import as_owner


class Command(MigrateSchemasCommand):  # type: ignore[misc]  # django-tenants has no types.
    """Runs django-tenants' command without changing to the organizations' roles."""

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        with as_owner():
            super().handle(*args, **options)
