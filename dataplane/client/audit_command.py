"""`python -m dataplane.client audit` and `verify-audit FILE --anchor ANCHOR` (asks no cluster)."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from dataplane.client.anchors import load_anchor_file
from dataplane.client.audit import lines_of, verify_audit
from dataplane.client.client import Client
from dataplane.client.errors import ProofError

EXPORT = "audit"
VERIFY = "verify-audit"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands to the command line."""
    export = commands.add_parser(EXPORT, help="the whole audit log with its proof, as JSON lines")
    export.add_argument("--since", help="as 2026-11-23T10:00:00Z; otherwise all that is kept")
    verify = commands.add_parser(VERIFY, help="check an audit log, without any connection")
    verify.add_argument("file", type=Path, help="what `audit` printed; - reads standard input")
    verify.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")


def export(client: Client, options: argparse.Namespace) -> None:
    """Print records, and at last the proof."""
    for line in client.audit_export(since=options.since):
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


def verify(options: argparse.Namespace) -> int:
    """Say in words what the file proves: 0 when it does, 1 when not."""
    anchor = load_anchor_file(options.anchor)
    try:
        if str(options.file) == "-":
            proven = verify_audit(lines_of(sys.stdin.buffer), anchor)
        else:
            with options.file.open("rb") as file:
                proven = verify_audit(lines_of(file), anchor)
    except ProofError as error:
        sys.stdout.write(f"NOT PROVEN. {error}\n")
        return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0
