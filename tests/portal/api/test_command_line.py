"""Commands that go to the portal, with the real portal and a real node behind it."""

import json
import re

import pytest

from aerolith_cli import exits, profiles
from aerolith_cli.chaos import FAULTS as SHELL_FAULTS
from dataplane.client.anchors import dump_anchor
from dataplane.client.client import Client
from portal.clusters.faults import FAULTS
from portal.clusters.models import ApiKey, Cluster, Operation
from portal.core.tenancy import tenant_context
from portal.plans.models import Plan
from portal.plans.selectors import catalogue_forget
from tests.clients.conftest import cli, home
from tests.portal.clusters.test_auditing import cluster
from tests.portal.command_line import sign_in
from tests.portal.single import client, nodes

__all__ = ["cli", "client", "cluster", "home", "nodes"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def shell(cli, cluster, alice, monkeypatch):
    """The command line of Acme's owner."""
    sign_in(monkeypatch, alice)
    return cli


def test_usage_is_shown_by_meter_with_what_it_costs(shell, cluster):
    told = shell.ok("usage")
    assert "Total" in told
    assert "The month will end between" in shell.err
    found = json.loads(shell.ok("--cluster", "Things", "usage", "--month", "2026-10", "--json"))
    assert found["period"]["start"] == "2026-10-01T00:00:00Z"
    assert found["costs"]["total"]["currency"]
    assert shell("usage", "--month", "October") == exits.USAGE


def test_usage_without_the_right_to_see_bills(cli, cluster, bob, monkeypatch):
    sign_in(monkeypatch, bob)
    assert "Total" not in cli.ok("usage")
    assert "those who may read bills" in cli.err
    assert json.loads(cli.ok("usage", "--json"))["costs"] is None


def test_nodes_are_listed_and_replaced_as_operations(shell, cluster, acme):
    assert "things-0" not in shell.ok("nodes", "list")
    assert json.loads(shell.ok("nodes", "list", "--json"))[0]["name"] == "things-0"
    assert shell("nodes", "replace", "0") == exits.USAGE
    assert "--yes answers beforehand" in shell.err
    assert shell("nodes", "replace", "0", "--yes") == exits.CONFLICT
    assert shell("nodes", "restart", "7", "--yes") == exits.NOT_FOUND
    with tenant_context(acme.schema_name):
        Cluster.objects.update(plan="starter", genesis={"x": 1})
    Plan.objects.filter(code="starter").update(node_counts=[1, 3])
    catalogue_forget()
    begun = shell.ok("nodes", "scale", "3", "--yes", "--no-wait").strip()
    assert "a month" in shell.err
    with tenant_context(acme.schema_name):
        assert Operation.objects.get(pk=begun).kind == "scale"
    assert begun in shell.ok("operations", "list")
    shell.ok("operations", "cancel", begun)
    catalogue_forget()


def test_the_backup_policy_is_shown_and_changed_in_part(shell):
    before = json.loads(shell.ok("backups", "policy", "show", "--json"))
    assert "keep daily" in shell.ok("backups", "policy", "show")
    shell.ok("backups", "policy", "set", "--every-hours", "6", "--yearly", "2")
    after = json.loads(shell.ok("backups", "policy", "show", "--json"))
    assert (after["every_hours"], after["keep"]["yearly"]) == (6, 2)
    assert after["keep"]["daily"] == before["keep"]["daily"]
    assert after["window_days"] == before["window_days"]
    assert shell("backups", "policy", "set") == exits.USAGE
    assert shell("backups", "policy", "set", "--every-hours", "5") == exits.USAGE


def test_keys_are_made_shown_rotated_and_revoked(shell, nodes, cluster, acme, home):
    shell.ok("keys", "create", "app", "--scope", "documents:read", "--secret-file", "old.key")
    with tenant_context(acme.schema_name):
        old = ApiKey.objects.get(name="app").key_id
    assert "documents:read" in shell.ok("keys", "show", old)
    shell.ok("keys", "rotate", old, "--days", "30", "--secret-file", "new.key", "--revoke-old")
    assert shell("keys", "rotate", old, "--secret-file", "new.key") == exits.USAGE
    with tenant_context(acme.schema_name):
        made = ApiKey.objects.exclude(key_id=old).get(name="app")
    assert made.scopes == ["documents:read"]
    assert made.expires_at is not None
    assert shell("keys", "rotate", made.key_id, "--secret-file", "third.key") == exits.USAGE
    assert "--days" in shell.err
    for file, works in (("old.key", False), ("new.key", True)):
        with Client(nodes.urls, (home / file).read_text().strip()) as one:
            if works:
                assert isinstance(one.query("things")["documents"], list)
                continue
            with pytest.raises(Exception, match="unauthenticated"):
                one.query("things")


def test_the_audit_log_is_listed_kept_and_proven(shell, client, nodes, home):
    for number in range(3):
        client.collection_put(f"rows-{number}", {})
    rows = json.loads(
        shell.ok("audit", "list", "--action", "collection.put", "--limit", "2", "--json")
    )
    assert [row["collection"] for row in rows] == ["rows-2", "rows-1"]
    assert "this portal" in shell.ok("audit", "list")
    assert shell.ok("audit", "verify").startswith("PROVEN.")
    (home / "audit.ndjson").write_text(shell.ok("audit", "export"))
    (home / "anchor.json").write_bytes(dump_anchor(nodes.anchor))
    file = ("audit", "verify", "audit.ndjson", "--anchor", "anchor.json")
    assert shell.ok(*file).startswith("PROVEN.")
    lines = (home / "audit.ndjson").read_text().splitlines(keepends=True)
    (home / "audit.ndjson").write_text("".join([*lines[:-3], *lines[-2:]]))
    assert shell(*file) == exits.FAILED
    assert shell("audit", "list", "--since", "yesterday") == exits.USAGE


def test_a_log_that_others_signed_is_refused_by_the_pinned_keys(shell, cluster, acme, client):
    client.collection_put("rows", {})
    with tenant_context(acme.schema_name):
        cluster.nodes.update(public_key="11" * 32)
    assert shell("audit", "verify") == exits.FAILED
    assert "NOT PROVEN." in shell.err


def test_the_activity_is_listed_and_its_chain_is_checked(shell, home):
    for name in ("one", "two"):
        shell.ok("keys", "create", name, "--secret-file", f"{name}.key")
    rows = json.loads(shell.ok("activity", "list", "--action", "key", "--json"))
    assert [row["after"]["name"] for row in rows][:2] == ["two", "one"]
    assert "alice@example.com" in shell.ok("activity", "list", "--actor", "alice")
    told = shell.ok("activity", "verify")
    head = told.split()[-1]
    whole = shell.ok("activity", "export")
    (home / "activity.json").write_text(whole)
    assert json.loads(whole)[-1]["action"] == "audit.exported"
    file = ("activity", "verify", "activity.json")
    assert shell.ok(*file, "--known", head).split()[0] == str(len(json.loads(whole)))
    assert shell(*file, "--known", "0" * 64) == exits.FAILED
    lines = whole.splitlines(keepends=True)
    for forged in (
        whole.replace('"name": "two"', '"name": "six"'),
        "".join([*lines[:2], *lines[3:]]),
        "".join([lines[0], *lines[2:]]),
        "".join(lines[:-2]),
        "[\n]\n",
        "",
        "[\n7\n]\n",
        whole.replace('"hash"', '"hush"'),
        re.sub(r'"at": "[^"]*"', '"at": 7', whole),
    ):
        assert forged != whole
        (home / "activity.json").write_text(forged)
        assert shell(*file) == exits.FAILED
        assert "NOT PROVEN." in shell.err


def test_nobody_is_broken_but_a_sandbox_by_its_owner(shell, cluster, home):
    (home / "password").write_text("not the password\n")
    start = ("chaos", "start", "0=crash", "--yes", "--password-file", "password")
    assert shell(*start[:3], "--yes") == exits.USAGE
    assert "--password-file" in shell.err
    assert shell(*start) == exits.NOT_ALLOWED
    (home / "password").write_text("a long enough password\n")
    assert shell(*start) == exits.CONFLICT
    assert "chaos sandbox --on" in shell.err
    shell.ok("chaos", "sandbox", "--on", "--yes")
    assert "is a sandbox" in shell.err
    assert shell("chaos", "start", "0=melt", "--yes") == exits.USAGE
    assert shell("chaos", "status") == exits.NOT_FOUND
    assert shell.ok("chaos", "list") == ""


def test_the_shell_knows_every_fault():
    assert set(SHELL_FAULTS) == set(FAULTS)


def test_each_node_says_how_it_encrypts(shell, cluster):
    assert "no" in shell.ok("encryption", "status")
    found = json.loads(shell.ok("encryption", "status", "--json"))
    assert [(row["node_id"], row["enabled"]) for row in found] == [(0, False)]
    assert profiles.load().profiles["default"].keys, "a key for this machine was made"
