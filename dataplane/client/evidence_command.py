"""`python -m dataplane.client verify-evidence FILE --anchor ANCHOR`: offline, asks no cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from dataplane.client.anchors import load_anchor_file
from dataplane.client.errors import EvidenceError
from dataplane.client.evidence import EVIDENCE_BYTES_MAX, verify_evidence

NAME = "verify-evidence"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(NAME, help="check a proof that a node lied, without a connection")
    parser.add_argument("file", type=Path, help="the proof; - reads standard input")
    parser.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(EVIDENCE_BYTES_MAX + 1)
    with path.open("rb") as file:
        return file.read(EVIDENCE_BYTES_MAX + 1)


def run(options: argparse.Namespace) -> int:
    """Say in words what the file proves: 0 when it does, 1 when not."""
    anchor, evidence = load_anchor_file(options.anchor), _read(options.file)
    try:
        proven = verify_evidence(evidence, anchor)
    except EvidenceError as error:
        sys.stdout.write(f"NOT PROVEN. {error}\n")
        return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0
