"""Real Celery workers that tests start, let die and end by pid."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from portal.clusters.models import Operation
from portal.clusters.tasks import operations_sweep
from portal.core.tenancy import public_context

ROOT = Path(__file__).resolve().parents[3]
SWEEP_S = 1.0
KILLED = -9


@contextmanager
def worker(services, log: Path, *, die_after: str = ""):
    """Run one worker process on the test's own database and broker."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "portal.config.settings.test",
        "DATABASE_URL": services.database_url(services.database),
        "AEROLITH_DIE_AFTER_STEP": die_after,
    }
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker"]
    options = ["--pool", "solo", "--without-mingle", "--without-gossip", "--loglevel", "WARNING"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def sweep_until(condition, *, seconds: float = 90):
    """Do what beat does, until the condition holds."""
    deadline = time.monotonic() + seconds
    swept = 0.0
    while time.monotonic() < deadline:
        if condition():
            return
        if time.monotonic() - swept > SWEEP_S:
            with public_context():
                operations_sweep()
            swept = time.monotonic()
        time.sleep(0.05)
    raise AssertionError(f"it did not come about in {seconds} s")


def survive_every_death(services, log: Path, operation: Operation, steps: list[str]) -> None:
    """Let a worker die after each step in turn; then see that the operation is done."""
    for step in steps:
        with worker(services, log, die_after=step) as process:
            sweep_until(lambda process=process: process.poll() is not None)
            assert process.returncode == KILLED, log.read_text()[-2000:]
        row = operation.steps.get(name=step)
        assert row.status == "succeeded"
    with worker(services, log):
        sweep_until(lambda: Operation.objects.get(pk=operation.pk).is_final)
