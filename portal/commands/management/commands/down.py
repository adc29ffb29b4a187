"""`manage.py down`: end everything that `up` started."""

import signal
from typing import Any, override

from django.core.management.base import BaseCommand

from portal.commands.processes import end, pid_file_read
from portal.commands.state import Installation
from portal.commands.supervisor import leftovers_end
from portal.core.supervision import aerolith_home

TIMEOUT_S = 90.0


class Command(BaseCommand):
    """Ends the supervisor by pid; it ends its children in order."""

    help = "Stop the portal, its services and its clusters."
    requires_system_checks = ()

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        installation = Installation(aerolith_home())
        running = pid_file_read(installation.supervisor_pid_file)
        if running is None:
            leftovers_end(installation.run / "children.json")
            installation.supervisor_pid_file.unlink(missing_ok=True)
            self.stdout.write("not running")
            return
        if not end(running, stop_signal=signal.SIGTERM, timeout_s=TIMEOUT_S):
            leftovers_end(installation.run / "children.json")
            self.stdout.write(f"ended by force after {TIMEOUT_S:g} s")
            return
        self.stdout.write("stopped")
