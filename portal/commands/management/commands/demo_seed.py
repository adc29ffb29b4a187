"""`manage.py demo_seed`: the demonstration organization, its cluster and its airports."""

from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from portal.commands.demo import Demo, DemoError
from portal.commands.state import Installation
from portal.core.supervision import aerolith_home


class Command(BaseCommand):
    """Run by `up`; every step that is done already is skipped."""

    help = "Make the demonstration, or wait until it is up again."
    requires_system_checks = ()

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        installation = Installation(aerolith_home())
        state = installation.read()
        if state is None:
            raise CommandError("run `manage.py up`, which calls this")
        try:
            Demo(installation, state, self.stdout.write).ensure()
        except DemoError as error:
            raise CommandError(str(error)) from error
