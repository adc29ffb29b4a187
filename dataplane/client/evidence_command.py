"""`python -m dataplane.client verify-evidence FILE --anchor KEYS`: offline, asks no cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from dataplane.client.errors import EvidenceError
from dataplane.client.evidence import EVIDENCE_BYTES_MAX, KEYS_BYTES_MAX, verify_with_keys

NAME = "verify-evidence"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(NAME, help="check a proof that a node lied, without a connection")
    parser.add_argument("file", type=Path, help="the proof; - reads standard input")
    parser.add_argument(
        "--anchor", type=Path, required=True, help="the cluster's id and public keys, as JSON"
    )


def _read(path: Path, bytes_max: int) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(bytes_max + 1)
    with path.open("rb") as file:
        return file.read(bytes_max + 1)


def run(options: argparse.Namespace) -> int:
    """Say in words what the file proves: 0 when it does, 1 when not."""
    evidence = _read(options.file, EVIDENCE_BYTES_MAX)
    keys = _read(options.anchor, KEYS_BYTES_MAX)
    try:
        proven = verify_with_keys(evidence, keys)
    except EvidenceError as error:
        sys.stdout.write(f"NOT PROVEN. {error}\n")
        return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0
