import json
import os
import signal
import urllib.request

import httpx
import pytest

from portal.commands.processes import ProcessIdentity, identify, pid_file_write
from tests.installations import installation
from tests.supervisors import until


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("up")
    for path in (folder, folder.parent):
        path.chmod(0o711)
    with installation(folder / "home") as made:
        made.summary = made.up("--no-demo")
        yield made


def test_up_prints_where_everything_is(running):
    assert running.summary["demo"] is None
    assert set(running.summary["operator"]) == {"email", "password"}
    with urllib.request.urlopen(running.summary["portal"], timeout=10) as answer:
        assert answer.status == 200


def test_status_lists_the_processes(running):
    processes = running.processes()
    names = {"supervisor", "postgres", "valkey", "web", "worker", "beat", "collector"}
    assert names == set(processes)
    assert all(process["pid"] for process in processes.values())


def test_a_killed_worker_comes_back_and_the_restart_is_shown(running):
    before = running.processes()["worker"]
    os.kill(before["pid"], signal.SIGKILL)

    def is_back():
        now = running.processes()["worker"]
        return now["state"] == "running" and now["restarts"] > before["restarts"] and now

    assert until(is_back, seconds=30)["pid"] != before["pid"]


def test_a_killed_postgres_is_told_in_words_until_it_is_back(running):
    page = running.summary["portal"] + "mailbox/"
    processes = running.processes()
    keeper = processes["supervisor"]["pid"]
    # Held, so that the outage lasts until it was looked at.
    os.kill(keeper, signal.SIGSTOP)
    try:
        os.kill(processes["postgres"]["pid"], signal.SIGKILL)
        words = until(lambda: refusal_of(page), seconds=20)
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert "database or cache does not answer" in words
    assert "Traceback" not in words
    until(lambda: refusal_of(page) is None, seconds=60)
    assert running.processes()["postgres"]["last_exit"] == -signal.SIGKILL


def refusal_of(address: str) -> str | None:
    """Return the page of a 503, None for a page as it should be."""
    answer = httpx.get(address, timeout=10, trust_env=False)
    assert answer.status_code in {200, 503}
    return answer.text if answer.status_code == 503 else None


def test_a_second_up_finds_the_first(running):
    assert running.up("--no-demo") == running.summary


def test_secrets_are_private(running):
    for name in ("state.json", "secret.key", "run/supervisor.json"):
        assert (running.home / name).stat().st_mode & 0o077 == 0, name


def test_token_create_prints_a_token_that_works(running):
    email = running.summary["operator"]["email"]
    token = running.manage("token_create", email).stdout.strip()
    request = urllib.request.Request(
        running.summary["portal"] + "api/v1/me", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["email"] == email
    assert running.manage("token_create", "nobody@example.com").returncode != 0


def test_down_ends_everything_and_a_stale_pid_file_harms_nobody(running):
    pids = [identify(process["pid"]) for process in running.processes().values()]
    assert running.manage("down").returncode == 0
    assert all(identify(process.pid) != process for process in pids)
    me = identify(os.getpid())
    pid_file_write(running.home / "run" / "supervisor.pid", ProcessIdentity(me.pid, "long-ago"))
    assert "not running" in running.manage("down").stdout
    assert running.manage("status").returncode == 3
    assert identify(os.getpid()) == me
