"""`python -m dataplane.client verify-tombstone FILE --anchor ANCHOR`: offline, asks no cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from dataplane.client.anchors import load_anchor_file
from dataplane.client.errors import ProofError
from dataplane.client.proofs import PROOF_BYTES_MAX
from dataplane.client.tombstones import tombstone_of, verify_tombstone

NAME = "verify-tombstone"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(NAME, help="check the certificate of an erasure, offline")
    parser.add_argument("file", type=Path, help="the tombstone; - reads standard input")
    parser.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(PROOF_BYTES_MAX + 1)
    with path.open("rb") as file:
        return file.read(PROOF_BYTES_MAX + 1)


def run(options: argparse.Namespace) -> int:
    """Say in words what the file proves: 0 when it does, 1 when not."""
    anchor = load_anchor_file(options.anchor)
    try:
        proven = verify_tombstone(tombstone_of(_read(options.file)), anchor)
    except ProofError as error:
        sys.stdout.write(f"NOT PROVEN. {error}\n")
        return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0
