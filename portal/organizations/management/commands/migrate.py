"""The same as `migrate_schemas`, under the name that everyone types."""

from portal.organizations.management.commands.migrate_schemas import Command

__all__ = ["Command"]
