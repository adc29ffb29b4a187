"""Whole installations in a home of their own, started and ended by the commands a user types."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from portal.commands.ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
SERVICE_VARIABLES = {"DATABASE_URL", "VALKEY_URL", "DJANGO_SETTINGS_MODULE"}


class Installation:
    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        kept = {key: value for key, value in os.environ.items() if key not in SERVICE_VARIABLES}
        self.environment = {
            **kept,
            "AEROLITH_HOME": str(home),
            "AEROLITH_PORT": str(free_ports(1)[0]),
        }

    def manage(self, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, *flags: str) -> dict:
        answer = self.manage("up", "--detach", "--wait", "--json", *flags)
        assert answer.returncode == 0, answer.stderr + answer.stdout
        return json.loads(answer.stdout.splitlines()[-1])

    def processes(self) -> dict[str, dict]:
        answer = self.manage("status", "--json")
        return {row["name"]: row for row in json.loads(answer.stdout)["processes"]}


@contextmanager
def installation(home: Path):
    made = Installation(home)
    try:
        yield made
    finally:
        made.manage("down")
