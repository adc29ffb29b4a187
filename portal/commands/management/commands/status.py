"""`manage.py status`: which processes run, and how often they had to be restarted."""

import json
import sys
from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand

from portal.commands.processes import ProcessIdentity, pid_file_read
from portal.commands.state import Installation
from portal.core.supervision import (
    SupervisorClient,
    SupervisorError,
    UnitStatus,
    aerolith_home,
)

EXIT_NOT_RUNNING = 3


class Command(BaseCommand):
    """Asks the supervisor."""

    help = "Show the processes; the exit code is 3 when nothing runs."
    requires_system_checks = ()

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        installation = Installation(aerolith_home())
        running = pid_file_read(installation.supervisor_pid_file)
        units: list[UnitStatus] = []
        if running is not None:
            try:
                units = SupervisorClient(installation.home).units()
            except SupervisorError as error:
                self.stderr.write(str(error))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(running, units)))
        else:
            self._as_text(running, units)
        if running is None:
            sys.exit(EXIT_NOT_RUNNING)

    def _as_text(self, running: ProcessIdentity | None, units: list[UnitStatus]) -> None:
        if running is None:
            self.stdout.write("not running")
            return
        self.stdout.write(f"{'NAME':<40} {'PID':>8} {'STATE':<9} {'RESTARTS':>8} LAST EXIT")
        self.stdout.write(f"{'supervisor':<40} {running.pid:>8} running")
        for unit in units:
            last_exit = "" if unit.last_exit is None else unit.last_exit
            self.stdout.write(
                f"{unit.name:<40} {unit.pid or '-':>8} {unit.state:<9} "
                f"{unit.restarts:>8} {last_exit}"
            )


def _as_json(running: ProcessIdentity | None, units: list[UnitStatus]) -> dict[str, Any]:
    rows = units
    if running is not None:
        rows = [UnitStatus(name="supervisor", pid=running.pid, state="running", restarts=0), *units]
    processes = [
        {
            "name": unit.name,
            "pid": unit.pid,
            "cluster": unit.labels.get("cluster"),
            "node": _number(unit.labels.get("node")),
            "state": unit.state,
            "restarts": unit.restarts,
            "last_exit": unit.last_exit,
        }
        for unit in rows
    ]
    return {"running": running is not None, "processes": processes}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
