import os
import signal
import sys

import pytest

from portal.commands.processes import ProcessIdentity, end, identify, pid_file_read, pid_file_write
from portal.core.supervision import SupervisorClient, SupervisorError
from tests.supervisors import bare_supervisor, until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
FORKER = [
    sys.executable,
    "-c",
    (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']);"
        "open(sys.argv[1], 'w').write(str(p.pid)); time.sleep(600)"
    ),
]

# Takes its time to end: until a file is there.
SLOW = [
    sys.executable,
    "-c",
    (
        "import pathlib, signal, sys, time; go = pathlib.Path(sys.argv[1]);"
        "wait = lambda *_: [time.sleep(0.02) for _ in iter(go.exists, True)] and sys.exit();"
        "signal.signal(signal.SIGTERM, wait); pathlib.Path(sys.argv[2]).touch(); time.sleep(600)"
    ),
]


def place(client, tmp_path, name="one", argv=SLEEPER, **changes):
    options = {
        "cwd": tmp_path,
        "env": {"COLOUR": "red"},
        "log_path": tmp_path / f"{name}.log",
        "labels": {"cluster": "c1", "node": "0"},
    }
    return client.start_unit(name, argv, **{**options, **changes})


def one(client, name="one"):
    return next(unit for unit in client.units() if unit.name == name)


def running(client, name="one"):
    return until(lambda: (u := one(client, name)).state == "running" and u, what="running")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def client(home):
    with bare_supervisor(home):
        yield SupervisorClient(home)


def test_a_unit_runs_with_its_labels_and_environment(client, tmp_path):
    out = tmp_path / "colour"
    code = f"import os, time; open({str(out)!r}, 'w').write(os.environ['COLOUR']); time.sleep(600)"
    place(client, tmp_path, argv=[sys.executable, "-c", code])
    unit = running(client)
    assert unit.labels == {"cluster": "c1", "node": "0"}
    until(lambda: out.exists() and out.read_text() == "red")


def test_the_same_definition_twice_leaves_the_process_alone(client, tmp_path):
    place(client, tmp_path)
    pid = running(client).pid
    place(client, tmp_path)
    assert one(client).pid == pid
    place(client, tmp_path, env={"COLOUR": "blue"})
    assert one(client).pid != pid


def test_a_killed_child_is_restarted_and_the_restart_is_shown(client, tmp_path):
    place(client, tmp_path)
    before = running(client)
    os.kill(before.pid, signal.SIGKILL)
    after = until(lambda: (u := one(client)).restarts == 1 and u.state == "running" and u)
    assert after.pid != before.pid
    assert after.last_exit == -signal.SIGKILL


def test_what_a_killed_child_left_behind_is_ended_with_it(client, tmp_path):
    place(client, tmp_path, argv=[*FORKER, str(tmp_path / "grandchild")])
    running(client)
    grandchild = identify(int(until((tmp_path / "grandchild").read_text)))
    os.kill(one(client).pid, signal.SIGKILL)
    until(lambda: identify(grandchild.pid) != grandchild, what="the grandchild ended")


def test_a_crash_loop_opens_the_breaker(client, tmp_path):
    place(client, tmp_path, argv=[sys.executable, "-c", "raise SystemExit(3)"])
    unit = until(lambda: (u := one(client)).state == "failed" and u, seconds=40)
    assert unit.last_exit == 3
    assert unit.restarts >= 3


def test_stop_survives_a_new_supervisor_and_restart_brings_it_back(home, tmp_path):
    with bare_supervisor(home):
        client = SupervisorClient(home)
        place(client, tmp_path)
        place(client, tmp_path, name="two")
        client.stop_unit("one")
    with bare_supervisor(home):
        client = SupervisorClient(home)
        running(client, "two")
        assert one(client).state == "stopped"
        assert client.restart_unit("one").name == "one"
        running(client)


def test_a_stop_at_once_asks_nobody_and_the_unit_stays_down(client, tmp_path):
    go, is_set = tmp_path / "go", tmp_path / "is-set"
    place(client, tmp_path, argv=[*SLOW, str(go), str(is_set)])
    pid = running(client).pid
    until(is_set.exists)
    # It would wait for `go` before it heeds a signal.
    client.stop_unit("one", at_once=True)
    assert one(client).state == "stopped"
    until(lambda: identify(pid) is None, what="the process to be gone")


def test_nothing_is_started_again_while_everything_ends(home, tmp_path):
    with bare_supervisor(home) as process:
        client = SupervisorClient(home)
        place(client, tmp_path)
        go, is_set = tmp_path / "go", tmp_path / "is-set"
        place(client, tmp_path, name="slow", argv=[*SLOW, str(go), str(is_set)])
        running(client)
        until(is_set.exists)
        process.terminate()
        until(lambda: one(client).pid is None, what="the first to end")
        for ask in (
            lambda: client.restart_unit("one"),
            lambda: client.start_unit(
                "two", SLEEPER, cwd=tmp_path, env={}, log_path=tmp_path / "two.log", labels={}
            ),
        ):
            with pytest.raises(SupervisorError, match="ending"):
                ask()
        go.touch()
        assert process.wait(20) == 0


def test_remove_forgets_and_may_be_repeated(client, tmp_path, home):
    place(client, tmp_path)
    client.remove_unit("one")
    client.remove_unit("one")
    assert client.units() == []
    assert list((home / "units").iterdir()) == []


def test_unknown_units_and_bad_names_are_refused(client, tmp_path):
    with pytest.raises(SupervisorError, match="not_found"):
        client.stop_unit("nobody")
    with pytest.raises(SupervisorError, match="invalid"):
        place(client, tmp_path, name="../escape")
    with pytest.raises(SupervisorError, match="invalid"):
        place(client, tmp_path, argv=[])


def test_a_wrong_token_is_refused(client, home):
    endpoint = home / "run" / "supervisor.json"
    endpoint.write_text(endpoint.read_text().replace('"token": "', '"token": "x'))
    with pytest.raises(SupervisorError, match="unauthenticated"):
        client.units()


def test_without_a_supervisor_the_client_says_so(tmp_path):
    with pytest.raises(SupervisorError, match="unreachable"):
        SupervisorClient(tmp_path).units()


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are the kernel's")
def test_children_die_with_a_supervisor_that_is_killed(home, tmp_path):
    with bare_supervisor(home) as process:
        client = SupervisorClient(home)
        place(client, tmp_path)
        child = identify(running(client).pid)
        process.kill()
        until(lambda: identify(child.pid) != child, what="the child ended")
    with bare_supervisor(home):
        running(SupervisorClient(home))


def test_a_pid_file_of_somebody_else_is_no_supervisor(home, tmp_path):
    me = identify(os.getpid())
    stale = ProcessIdentity(me.pid, "another-boot:1")
    path = tmp_path / "stale.pid"
    pid_file_write(path, stale)
    assert pid_file_read(path) is None
    assert end(stale, stop_signal=signal.SIGKILL, timeout_s=0.1)
    pid_file_write(path, me)
    assert pid_file_read(path) == me
