"""The command line as it is installed, against a whole portal: from the token to the last node."""

import json
import os
import stat
import subprocess

import pytest

from tests.clients.packaging import PROJECT, build_wheel, fresh_environment
from tests.installations import installation

EMAIL = "ada@example.com"
CREATE = f"""
from django.contrib.auth import get_user_model
from portal.core import clock
from portal.organizations.services import organization_create
user = get_user_model().objects.create_user(
    email={EMAIL!r}, password="long enough here", name="Ada", email_confirmed_at=clock.now())
organization_create(owner=user, name="Engines", slug="engines")
"""


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portal")
    for path in (folder, folder.parent):
        path.chmod(0o711)
    with installation(folder / "home") as made:
        url = made.up("--no-demo")["portal"].rstrip("/")
        created = made.manage("shell", "-c", CREATE)
        assert created.returncode == 0, created.stderr
        token = made.manage("token_create", EMAIL).stdout.strip()
        yield url, token


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    wheel = build_wheel(PROJECT, folder / "wheel")
    return fresh_environment(folder / "environment", wheel, "cli").parent / "aerolith"


@pytest.fixture
def run(program, tmp_path):
    """Run the installed program; everything it says is kept."""
    kept = {name: value for name, value in os.environ.items() if "AEROLITH" not in name}
    environment = {
        **kept,
        "AEROLITH_CONFIG": str(tmp_path / "config.json"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "COLUMNS": "120",
    }
    said: list[str] = []

    def do(*arguments: str, code: int = 0, given: str = "") -> str:
        done = subprocess.run(
            [program, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        said.append(done.stdout + done.stderr)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    do.said = said
    return do


def test_from_a_token_to_a_cluster_and_back(portal, run, tmp_path):
    url, token = portal
    run("login", "--portal", url, "--token-file", "-", given=token)
    config = tmp_path / "config.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "engines" in run("orgs", "list")
    plans = json.loads(run("clusters", "plans", "--json"))
    plan = next(row["code"] for row in plans if {3, 4} <= set(row["node_counts"]))
    create = ("clusters", "create", "shop", "--plan", plan, "--nodes", "3")
    run(*create, code=2)
    assert "--yes answers beforehand" in run.said[-1]
    made = json.loads(run(*create, "--yes", "--json"))
    assert made["operation"]["status"] == "succeeded"
    assert made["cluster"]["status"] == "running"
    assert "succeeded" in run.said[-1]

    run("clusters", "use", "shop")
    run("put", "orders", "o-1", '{"lines": 2}')
    assert "made the key" in run.said[-1]
    (tmp_path / "rows.csv").write_text("id,lines\no-2,5\no-3,7\n")
    run("import", "orders", "rows.csv", "--id-field", "id")
    assert "made the key" not in run.said[-1], "the key is remembered"
    assert run("query", "orders", "--sort", '{"lines": -1}').count("\n") == 3
    proven_in_both_ways(run, tmp_path)

    changed = json.loads(run("clusters", "scale", "--nodes", "4", "--yes", "--json"))
    assert changed["cluster"]["desired"] == {"nodes": 4}
    assert json.loads(run("status", "--json"))["nodes"]["quorum"] == 3
    proven_in_both_ways(run, tmp_path)
    keys_live_and_die(run, tmp_path)
    a_backup_brings_back(run)

    operations = json.loads(run("operations", "list", "--json"))
    assert [row["kind"] for row in operations][-2:] == ["scale", "create"]
    run("operations", "watch", operations[0]["id"])
    assert "succeeded" in run("operations", "show", operations[0]["id"])
    run("operations", "cancel", operations[0]["id"], code=4)
    run("clusters", "delete", "shop", "--yes")
    assert run("clusters", "list", "--json").strip() == "[]"
    run("clusters", "show", "nothing", code=3)
    assert not [text for text in run.said if token in text or "adk_" in text]


def proven_in_both_ways(run, folder) -> None:
    """The proof holds for the anchor that was pinned with the key, and for the portal's own."""
    (folder / "answer.json").write_text(run("get", "orders", "o-2", "--proof"))
    (folder / "anchor.json").write_text(run("anchor"))
    assert "PROVEN." in run("verify", "answer.json", "--anchor", "anchor.json")


def a_backup_brings_back(run) -> None:
    backup = run("backups", "create", "--note", "before the mistake").strip()
    # The schedule may take one of its own just then.
    listed = json.loads(run("backups", "list", "--json"))
    assert {row["id"]: row["status"] for row in listed}[backup] == "stored"
    run("collections", "drop", "orders", "--yes")
    run("backups", "preview", code=2)
    (gone,) = [
        row
        for row in json.loads(run("backups", "preview", backup, "--json"))["collections"]
        if row["collection"] == "orders"
    ]
    assert (gone["now"], gone["then"], gone["added"]) == (0, 3, 3)
    assert "ADDED" in run("backups", "preview", backup)
    run("backups", "restore", backup, "--in-place", code=2)
    for wrong in (("--new", "a", "--branch", "b"), ("--new", "a", "--days", "2"), ()):
        run("backups", "restore", backup, *wrong, code=2)
    run("backups", "restore", "--branch", "b", code=2)
    run("backups", "restore", "--before-event", "1", "--branch", "b", "--days", "2", code=4)
    assert "moment" in run.said[-1]
    run("backups", "restore", backup, "--in-place", "--yes")
    assert json.loads(run("get", "orders", "o-2"))["lines"] == 5


def keys_live_and_die(run, folder) -> None:
    """A key that was revoked is forgotten, and the next command makes another."""
    run("keys", "create", "reports", "--scope", "documents:read", "--secret-file", "reports.key")
    assert stat.S_IMODE((folder / "reports.key").stat().st_mode) == 0o600
    run("--key-file", "reports.key", "get", "orders", "o-1")
    run("--key-file", "reports.key", "put", "orders", "o-1", "{}", code=5)
    mine = next(
        row["id"]
        for row in json.loads(run("keys", "list", "--json"))
        if row["name"].startswith("aerolith on ")
    )
    config = folder / "config.json"
    before = config.read_text()
    run("keys", "revoke", mine)
    config.write_text(before)
    run("get", "orders", "o-1", code=5)
    assert "is forgotten" in run.said[-1]
    run("get", "orders", "o-1")
    assert "made the key" in run.said[-1]
