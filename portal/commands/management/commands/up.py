"""`manage.py up`: start the portal with everything it needs."""

import asyncio
import json
import subprocess
import sys
from argparse import ArgumentParser
from time import sleep
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from portal.commands.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    pid_file_read,
    pid_file_write,
)
from portal.commands.serve import ROOT, serve
from portal.commands.state import Installation
from portal.commands.summary import demo_read, summary, summary_text
from portal.core.supervision import aerolith_home

POLL_S = 0.05
WAIT_TIMEOUT_S = 600.0


class Command(BaseCommand):
    """Starts the supervisor here, or beside us with --detach."""

    help = "Start the portal, its services and its clusters. Ctrl-C ends everything."
    requires_system_checks = ()

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--detach", action="store_true", help="run in the background")
        parser.add_argument("--wait", action="store_true", help="return when all is ready")
        parser.add_argument("--json", action="store_true", help="print one JSON object last")
        parser.add_argument("--no-demo", action="store_true", help="without the demonstration")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        installation = Installation(aerolith_home())
        installation.prepare()
        running = pid_file_read(installation.supervisor_pid_file)
        has_demo = not options["no_demo"]
        if running is not None:
            self._say(f"already running (pid {running.pid})")
        elif options["detach"]:
            running = self._detach(installation, has_demo=has_demo)
        else:
            self._foreground(installation, has_demo=has_demo, as_json=options["json"])
            return
        self._wait(installation, running, wait_for_all=options["wait"])
        self._report(installation, as_json=options["json"])

    def _foreground(self, installation: Installation, *, has_demo: bool, as_json: bool) -> None:
        def tell(text: str) -> None:
            self._say(text.removeprefix("aerolith: "))
            if text.endswith("everything is ready"):
                self._report(installation, as_json=as_json)

        code = asyncio.run(serve(installation, has_demo=has_demo, tell=tell))
        if code:
            sys.exit(code)

    def _detach(self, installation: Installation, *, has_demo: bool) -> ProcessIdentity:
        (installation.run / "progress.json").unlink(missing_ok=True)
        options = json.dumps({"home": str(installation.home), "demo": has_demo})
        with (installation.logs / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "portal.commands.serve", options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        found = identify(process.pid)
        if found is None:
            raise CommandError(f"the supervisor ended at once; see {log.name}")
        # Not left to the supervisor: a `down` that comes at once must find it.
        pid_file_write(installation.supervisor_pid_file, found)
        return found

    def _wait(
        self, installation: Installation, running: ProcessIdentity, *, wait_for_all: bool
    ) -> None:
        """Wait for the portal, and with --wait for the demonstration too."""
        key = "ready" if wait_for_all else "portal_ready"
        for _ in range(int(WAIT_TIMEOUT_S / POLL_S)):
            progress = self._progress(installation)
            if progress.get("error"):
                raise CommandError(str(progress["error"]))
            if progress.get("demo_error") and wait_for_all:
                raise CommandError(f"the portal runs, but {progress['demo_error']}")
            if progress.get(key):
                for text in progress.get("warnings", []):
                    self._say(f"warning: {text}")
                return
            if not is_alive(running):
                raise CommandError(f"the supervisor ended; see {installation.logs}/supervisor.log")
            sleep(POLL_S)
        raise CommandError(f"not ready after {WAIT_TIMEOUT_S:g} s; see {installation.logs}")

    def _progress(self, installation: Installation) -> dict[str, Any]:
        try:
            found = json.loads((installation.run / "progress.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _report(self, installation: Installation, *, as_json: bool) -> None:
        state = installation.read()
        assert state is not None, "a start writes it first"
        if as_json:
            self.stdout.write(json.dumps(summary(installation, state)))
            return
        self.stdout.write(summary_text(installation, state))
        if demo_read(installation.home) is None:
            self.stdout.write("  The demonstration is not there (yet).\n")

    def _say(self, text: str) -> None:
        # Progress goes to stderr: with --json the last line of stdout is the object.
        print(text, file=sys.stderr, flush=True)
