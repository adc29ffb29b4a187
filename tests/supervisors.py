"""Supervisors that tests start and end by pid."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from portal.core.supervision import SupervisorClient, SupervisorError

ROOT = Path(__file__).resolve().parents[1]


def until(condition, *, seconds: float = 20, what: str = "condition"):
    """Poll until `condition()` is true and return its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds} s")


def _answers(home: Path) -> bool:
    try:
        SupervisorClient(home).units()
    except SupervisorError:
        return False
    return True


@contextmanager
def bare_supervisor(home: Path):
    """Run a supervisor of units in its own process."""
    home.mkdir(parents=True, exist_ok=True)
    log = (home / "supervisor.out").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "portal.commands.supervisor", "--home", str(home)],
        cwd=ROOT,
        stdout=log,
        stderr=log,
    )
    try:
        until(lambda: _answers(home), what="the supervisor's endpoint")
        yield process
    finally:
        process.terminate()
        process.wait(30)
        log.close()
