"""The end of everything, at moments when something is just being started."""

import asyncio
import os
import signal
import sys

import pytest

from portal.commands.child import Child
from portal.commands.launching import Launch
from portal.commands.management.commands.up import Command
from portal.commands.processes import identify, pid_file_read
from portal.commands.state import Installation
from portal.commands.units import Definition
from portal.core.supervision import SupervisorClient, SupervisorError
from tests.installations import SERVICE_VARIABLES, installation
from tests.supervisors import bare_supervisor, until

# Ends only when it is both asked to and allowed to; says when it was asked.
RELUCTANT = """
import pathlib, signal, sys, time
asked, allowed, ready = (pathlib.Path(name) for name in sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: asked.touch())
ready.touch()
while not (asked.exists() and allowed.exists()):
    time.sleep(0.01)
"""


@pytest.fixture
def reluctant(tmp_path):
    """A supervisor in the middle of its end, its client, and the file that lets it go on."""
    asked, allowed, ready = (tmp_path / name for name in ("asked", "allowed", "ready"))
    with bare_supervisor(tmp_path / "home") as process:
        client = SupervisorClient(tmp_path / "home")
        place(client, tmp_path, "one", [RELUCTANT, str(asked), str(allowed), str(ready)])
        until(ready.exists, what="the unit runs")
        process.terminate()
        until(asked.exists, what="the unit was asked to end")
        try:
            yield process, client, allowed
        finally:
            allowed.touch()


def place(client, tmp_path, name, code):
    client.start_unit(
        name,
        [sys.executable, "-c", *code],
        cwd=tmp_path,
        env={},
        log_path=tmp_path / f"{name}.log",
        labels={},
    )


def test_nothing_is_started_while_everything_is_being_stopped(reluctant, tmp_path):
    process, client, allowed = reluctant
    with pytest.raises(SupervisorError, match="ending"):
        place(client, tmp_path, "two", ["import time; time.sleep(600)"])
    for change in (client.restart_unit, client.stop_unit, client.remove_unit):
        with pytest.raises(SupervisorError, match="ending"):
            change("one")
    allowed.touch()
    assert process.wait(10) == 0
    assert not (tmp_path / "home" / "units" / "two.json").exists()


async def test_a_child_told_to_stop_while_it_is_started_is_ended_by_force(tmp_path):
    # Ignored here, ignored by the child: there is no moment at which it would heed the signal.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        launch = Launch(argv=("sleep", "600"), cwd=tmp_path, env=dict(os.environ))
        log = tmp_path / "log"
        child = Child(Definition(name="deaf", launch=launch, log_path=log, stop_timeout_s=0.2))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            running = group.create_task(child.run())
            await asyncio.sleep(0)
            assert child.pid is None
            await child.stop()
            await running
    finally:
        signal.signal(signal.SIGTERM, before)
    assert child.last_exit == -signal.SIGKILL
    assert child.state == "stopped"
    assert "still there 0.2 s after the signal" in log.read_text()


def test_down_finds_a_start_that_has_only_just_begun(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path.parent):
        path.chmod(0o711)
    for name in SERVICE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with installation(tmp_path / "home") as made:
        home = Installation(made.home)
        home.prepare()
        supervisor = Command()._detach(home, has_demo=False)
        assert pid_file_read(home.supervisor_pid_file) == supervisor
        assert made.manage("down").stdout.strip() == "stopped"
        assert identify(supervisor.pid) != supervisor
