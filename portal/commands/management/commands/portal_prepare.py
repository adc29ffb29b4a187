"""`manage.py portal_prepare`: migrate every schema, the template's too, and make the operator."""

from typing import Any, override

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from portal.commands.accounts import operator_ensure
from portal.commands.state import Installation
from portal.core.supervision import aerolith_home
from portal.organizations.schemas import schema_prepare


class Command(BaseCommand):
    """What `up` runs once for each version of the code."""

    help = "Migrate the public schema and every organization's, and make the operator."
    requires_system_checks = ()

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        state = Installation(aerolith_home()).read()
        if state is None:
            raise CommandError("run `manage.py up`, which calls this")
        call_command("migrate_schemas", interactive=False, verbosity=1)
        schema_prepare()
        operator_ensure(state)
