"""Backups as files, from the shell: taken, checked without a connection, loaded elsewhere."""

import pytest

from aerolith_cli import backups, exits
from aerolith_cli.exits import CommandError
from dataplane.client.anchors import dump_anchor
from dataplane.client.client import Client
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_ready


@pytest.fixture
def other(tmp_path):
    """Another cluster, empty."""
    cluster = LocalCluster(tmp_path / "other", 1)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


def test_a_backup_is_taken_checked_and_loaded(at_node, client, node, other, home, monkeypatch):
    cli = at_node
    (home / "anchor.json").write_bytes(dump_anchor(node.anchor))
    anchor = ("--anchor", "anchor.json")
    client.put("kept", "a", {"n": 1})
    assert cli("backups", "take", "one.aero") == exits.USAGE
    assert "Name the trust anchor" in cli.err
    cli.ok("backups", "take", "one.aero", *anchor)
    client.put("kept", "b", {"n": 2})
    cli.ok("backups", "take", "two.aero", *anchor, "--since", "one.aero")
    assert "PROVEN." in cli.ok("backups", "verify", "one.aero", "two.aero", *anchor)

    data = bytearray((home / "one.aero").read_bytes())
    data[len(data) // 2] ^= 1
    (home / "bad.aero").write_bytes(data)
    assert cli("backups", "verify", "bad.aero", *anchor) == exits.FAILED
    assert "NOT PROVEN." in cli.err
    assert cli("backups", "verify", "missing.aero", *anchor) == exits.USAGE

    monkeypatch.setenv("AEROLITH_URLS", other.urls[0])
    monkeypatch.setenv("AEROLITH_TOKEN", other.api_key)
    cli.ok("backups", "load", "one.aero", "two.aero", *anchor)
    with Client(other.urls, other.api_key) as restored:
        assert [row["n"] for row in restored.iterate("kept", sort={"n": 1})] == [1, 2]


def test_without_the_extra_package_it_says_which(monkeypatch):
    monkeypatch.setattr(backups.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CommandError) as missing:
        backups._require_zstandard()
    assert missing.value.hint == "pip install 'aerolith[backup]'"
