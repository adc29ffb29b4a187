"""What the command line says, against a real node: reviewed as text."""

import json
import re
import sys
from pathlib import Path

import pytest
import typer

from aerolith_cli import entry, exits
from aerolith_cli.app import app
from dataplane.client.anchors import dump_anchor
from dataplane.client.outbox import Outbox

ROOT = Path(__file__).resolve().parents[2]


def settled(lines: list[str], node) -> str:
    """Return a transcript without what differs from run to run."""
    text = "\n".join(lines)
    text = text.replace(node.urls[0].rpartition(":")[2], "PORT").replace(node.cluster_id, "CLUSTER")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"seal [0-9a-f]{64}", "seal ROOT", text)
    text = re.sub(r'"place":"\d+-0","sequence":\d+', '"place":"PLACE","sequence":N', text)
    text = re.sub(r"(?m)^(  )\d+-0 +", r"\1PLACE  ", text)
    text = re.sub(r"Since sequence \d+", "Since sequence N", text)
    return re.sub(r"(sequence\s+|yes +)\d+", r"\1N", text)


def commands(group, path=()):
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


def test_the_help_of_every_command(cli, snapshot):
    for path in commands(typer.main.get_command(app)):
        cli.ok(*path, "--help")
    snapshot("help", "\n".join(cli.transcript))


def test_documents_from_the_shell(at_node, node, home, snapshot):
    cli = at_node
    (home / "order.json").write_text('{"lines": 3, "customer": {"name": "Ada"}}')
    (home / "anchor.json").write_bytes(dump_anchor(node.anchor))
    assert cli("put", "orders", "o-17", "@order.json") == 0
    assert cli("get", "orders", "o-17") == 0
    assert cli("patch", "orders", "o-17", '{"paid": true}', "--if-version", "1") == 0
    assert cli("patch", "orders", "o-17", '{"$inc": {"lines": 2}}', "--operators") == 0
    assert cli("put", "orders", "o-17", "{}", "--if-version", "1") == exits.CONFLICT
    assert cli("put", "orders", "o-17", "{}", "--absent") == exits.CONFLICT
    assert cli("put", "orders", "o-18", '{"lines": 1}') == 0
    assert cli("query", "orders", "--sort", '{"lines": -1}', "--fields", "lines") == 0
    assert cli("query", "orders", "--table") == 0
    assert cli("query", "orders", "--filter", '{"lines": {"$gt": 2}}', "--limit", "0") == 0
    total = '[{"$group": {"_id": null, "total": {"$sum": "$lines"}}}]'
    assert cli("aggregate", "orders", total) == 0
    together = '[{"op": "check", "collection": "orders", "id": "o-18", "filter": {"lines": %d}}]'
    assert cli("transact", together % 1) == 0
    assert cli("transact", together % 7) == exits.CONFLICT
    assert cli("watch", "orders", "--after", "0", "--limit", "2", "--brief") == 0
    assert cli("get", "orders", "o-18", "--proof") == 0
    cli.transcript[-3:] = ["  (the answer, with its proof)", "= 0", ""]
    (home / "answer.json").write_text(cli.out)
    assert cli("verify", "answer.json", "--anchor", "anchor.json") == 0
    (home / "answer.json").write_text('{"version": 1}')
    assert cli("verify", "answer.json", "--anchor", "anchor.json") == exits.FAILED
    assert cli("delete", "orders", "o-18") == 0
    assert cli("get", "orders", "o-18") == exits.NOT_FOUND
    assert cli("collections", "create", "ledger", "--options", '{"conflict_policy": "lww"}') == 0
    assert cli("collections", "drop", "ledger") == exits.USAGE
    assert cli("collections", "drop", "ledger", "--yes") == 0
    assert cli("collections", "show", "ledger") == exits.NOT_FOUND
    assert cli("status") == 0
    cli.transcript = cli.transcript[: -len(cli.out.splitlines()) - 3]
    assert cli("put", "orders", "o-19", "{'lines': 3}") == exits.USAGE
    assert cli("put", "orders", "o-19", "[1]") == exits.USAGE
    assert cli("patch", "orders", "o-17", '{"$foo": {"a": 1}}', "--operators") == exits.USAGE
    assert cli("query", "orders", "--filter", '{"a": {"$regex": "("}}') == exits.USAGE
    assert cli("get", "orders") == exits.USAGE
    snapshot("documents", settled(cli.transcript, node))


def test_the_history_of_a_document_from_the_shell(at_node, client, node, snapshot):
    cli = at_node
    for lines in (1, 2, 3):
        client.put("parcels", "p-17", {"lines": lines, "weight": {"kg": lines // 2}})
    assert cli("history", "parcels", "p-17", "--limit", "2", "--brief") == 0
    assert cli("history", "parcels", "p-17", "--table") == 0
    assert cli("history", "parcels", "p-17", "--limit", "0") == exits.USAGE
    assert cli("history", "parcels", "p-18") == exits.NOT_FOUND
    snapshot("history", settled(cli.transcript, node))


def test_tiers_from_the_shell(at_node, node, snapshot):
    cli = at_node
    assert cli("collections", "create", "ledger", "--options", '{"conflict_policy": "lww"}') == 0
    assert cli("collections", "tier", "ledger", "--cold-after-s", "3600") == 0
    assert cli("collections", "show", "ledger") == 0
    told = json.loads(cli.out)
    assert told["options"] == {"conflict_policy": "lww", "tiering": {"cold_after_s": 3600}}
    assert told["tiers"]["distributed"] == {"documents": 0, "bytes": 0}
    told = list(cli.transcript)
    header, *rows = [line.split() for line in cli.ok("collections", "list").splitlines()]
    assert header == ["COLLECTION", "DOCUMENTS", "BYTES", "COLD"]
    assert ["ledger", "0", "0", "0"] in rows
    # Which other collections there are depends on other tests.
    cli.transcript = told
    assert cli("collections", "tier", "ledger", "--cold-after-s", "0") == exits.USAGE
    assert cli("collections", "tier", "ledger") == exits.USAGE
    assert cli("collections", "tier", "ledger", "--cold-after-s", "9", "--never") == exits.USAGE
    assert cli("collections", "tier", "ledger", "--never") == 0
    assert json.loads(cli.out)["options"] == {"conflict_policy": "lww"}
    assert cli("collections", "drop", "ledger", "--yes") == 0
    snapshot("tiers", settled(cli.transcript, node))


def test_errors_say_what_to_do(cli, node, monkeypatch, snapshot):
    assert cli("get", "orders", "o-17") == exits.USAGE
    assert cli("clusters", "list") == exits.USAGE
    assert cli("--url", node.urls[0], "get", "a", "b", shown="--url NODE get a b") == exits.USAGE
    monkeypatch.setenv("AEROLITH_TOKEN", "adk_0123456789abcdef_wrong")
    wrong = ("--url", node.urls[0], "get", "a", "b")
    assert cli(*wrong, shown="--url NODE get a b") == exits.NOT_ALLOWED
    assert cli("--url", "http://127.0.0.1:9", "get", "a", "b") == exits.UNAVAILABLE
    missing = ("--url", "http://127.0.0.1:9", "import", "a", "missing.csv")
    assert cli(*missing) == exits.USAGE
    assert cli("login") == exits.USAGE
    assert cli("login", "--portal", "http://portal.example.com") == exits.USAGE
    assert cli("login", "--portal", "portal.example.com") == exits.USAGE
    assert cli("verify", "missing.json", "--anchor", "missing.json") == exits.USAGE
    snapshot("errors", settled(cli.transcript, node))


def test_indexes_from_the_shell(at_node, client, snapshot, node):
    cli = at_node
    client.put("flights", "a", {"from": "OSL", "n": 1})
    client.put("flights", "b", {"from": "OSL", "n": 2})
    assert cli("indexes", "create", "flights", "by-n", "--field", "n:desc", "--unique") == 0
    assert cli("indexes", "create", "flights", "only", "--field", "from", "--unique") == (
        exits.UNSUCCESSFUL
    )
    assert cli("put", "flights", "c", '{"n": 2}') == exits.CONFLICT
    assert cli("indexes", "list", "flights") == 0
    assert cli("indexes", "drop", "flights", "only", "--yes") == 0
    assert cli("indexes", "show", "flights", "only") == exits.NOT_FOUND
    assert cli("indexes", "create", "flights", "x", "--field", "n:up") == exits.USAGE
    snapshot("indexes", settled(cli.transcript, node))


def test_the_audit_log_is_printed_and_proven(at_node, client, node, home):
    for name in ("audited-a", "audited-b", "audited-c"):
        client.collection_put(name, {})
    (home / "anchor.json").write_bytes(dump_anchor(node.anchor))
    (home / "audit.ndjson").write_text(at_node.ok("audit", "export"))
    check = ("audit", "verify", "audit.ndjson", "--anchor", "anchor.json")
    assert at_node.ok(*check).startswith("PROVEN.")
    assert at_node.ok("audit", "verify", "--anchor", "anchor.json").startswith("PROVEN.")
    assert at_node("audit", "verify") == exits.USAGE
    wanted = ("audit", "list", "--action", "collection", "--limit", "2", "--json")
    rows = json.loads(at_node.ok(*wanted))
    assert [row["collection"] for row in rows] == ["audited-c", "audited-b"]
    lines = (home / "audit.ndjson").read_text().splitlines(keepends=True)
    (home / "audit.ndjson").write_text("".join([*lines[:-3], *lines[-2:]]))
    assert at_node(*check) == exits.FAILED
    assert "NOT PROVEN." in at_node.err


def test_conflicts_are_listed_shown_and_settled(at_node, client, home):
    cli = at_node
    client.put("bookings", "a", {"seats": 1})
    client.put("bookings", "b", {"seats": 1})
    with Outbox(home / "changes.sqlite") as outbox:
        for name in ("a", "b"):
            outbox.put("bookings", name, {"seats": 2})
        assert len(outbox.flush(client).conflicts) == 2
    first, second = [
        row["_id"] for row in json.loads(cli.ok("conflicts", "list", "bookings", "--json"))
    ]
    assert first in cli.ok("conflicts", "list", "bookings")
    shown = json.loads(cli.ok("conflicts", "show", "bookings", first))
    assert (shown["mine"]["seats"], shown["theirs"]["seats"]) == (2, 1)
    assert cli("conflicts", "settle", "bookings", first) == exits.USAGE
    assert cli("conflicts", "settle", "bookings", first, "--take", "both") == exits.USAGE
    assert (
        json.loads(cli.ok("conflicts", "settle", "bookings", first, "--take", "mine"))["seats"] == 2
    )
    own = ("conflicts", "settle", "bookings", second, "--document", '{"seats": 3}')
    assert json.loads(cli.ok(*own))["seats"] == 3
    assert cli("conflicts", "show", "bookings", first) == exits.NOT_FOUND
    assert cli.ok("conflicts", "list", "bookings") == ""
    seats = {row["_id"]: row["seats"] for row in client.iterate("bookings")}
    assert seats == {"a": 3, "b": 3} | {shown["id"]: 2}


def test_a_node_says_how_it_encrypts(at_node, node):
    (row,) = json.loads(at_node.ok("encryption", "status", "--json"))
    assert row == {"url": node.urls[0], "node_id": 0, "enabled": False}
    away = ("--url", "http://127.0.0.1:9", "encryption", "status")
    assert at_node(*away) == exits.UNAVAILABLE


def test_faults_and_commands_are_completed(cli, monkeypatch):
    monkeypatch.setenv("_AEROLITH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "aerolith chaos start 2=c")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert cli() == 0
    assert cli.out.split() == ["2=crash", "2=corrupt_document", "2=clock_skew"]


def test_json_is_for_programs(at_node):
    at_node.ok("put", "machine", "a", '{"n": 1}')
    answer = json.loads(at_node.ok("status", "--json"))
    assert answer["nodes"]["quorum"] == 1
    names = [row["name"] for row in json.loads(at_node.ok("collections", "list", "--json"))]
    assert "machine" in names


def test_control_characters_of_a_document_do_not_reach_the_terminal(at_node):
    at_node.ok("put", "odd", "a", json.dumps({"text": "\x1b[2Jboo\x07", "long": "y" * 200}))
    shown = at_node.ok("query", "odd", "--table")
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "�[2Jboo�" in shown
    assert "…" in shown


def test_a_key_file_is_read_and_its_content_is_not_shown(cli, node, home):
    (home / "key").write_text(node.api_key + "\n")
    at = ("--url", node.urls[0], "--key-file", home / "key")
    assert cli(*at, "put", "filed", "a", "{}") == 0
    assert node.api_key not in cli.out + cli.err
    (home / "key").write_text("\n")
    assert cli(*at, "get", "filed", "a") == exits.USAGE


def test_standard_input_is_read_where_a_dash_is_given(at_node, monkeypatch, tmp_path):
    (tmp_path / "input").write_bytes(b'{"from": "stdin"}')
    with (tmp_path / "input").open() as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        assert json.loads(at_node.ok("put", "piped", "a", "-"))["from"] == "stdin"


def test_every_exit_code_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text()
    for name, value in vars(exits).items():
        if name.isupper() and not name.startswith("_") and isinstance(value, int):
            assert f"| {value} |" in text, name


def test_without_the_extra_packages_it_says_which(cli, monkeypatch):
    monkeypatch.setattr(entry.importlib.util, "find_spec", lambda name: None)
    assert cli("status") == exits.FAILED
    assert "pip install 'aerolith[cli]'" in cli.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(shell, cli, monkeypatch):
    monkeypatch.setenv("_AEROLITH_COMPLETE", f"source_{shell}")
    assert cli() == 0
    assert "AEROLITH_COMPLETE" in cli.out
